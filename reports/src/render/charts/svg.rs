//! A plotters backend that writes small SVG following the page's theme.
//!
//! Colours are not drawn but named: [`Ink`] travels through plotters disguised as a colour and
//! comes out as a CSS class. Text sizes and fonts are the style sheet's. Coordinates are half
//! CSS pixels, so that lines are smooth on any screen.

use std::convert::Infallible;
use std::fmt::Write as _;

use plotters::style::RGBColor;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

use crate::words::escape;

/// Width of a character against the font size; right for digits of system fonts.
const CHARACTER_WIDTH: f64 = 0.56;

/// What is drawn; the style sheet says how it looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ink {
    /// Lines of a data series.
    Series(u8),
    /// Thick strokes of a data series, a dot when they have no length.
    Stroke(u8),
    /// Single points of a data series.
    Dot(u8),
    /// Areas and bars of a data series.
    Fill(u8),
    /// Axes and tick marks.
    Axis,
    /// Lines across the plot.
    Grid,
    /// Labels.
    Text,
    /// A shaded part of the horizontal axis.
    Band,
    /// A line that marks a value, such as a percentile.
    Mark,
}

impl Ink {
    /// The disguise: red is the kind, green the series.
    pub(super) const fn colour(self) -> RGBColor {
        match self {
            Self::Series(index) => RGBColor(1, index, 0),
            Self::Fill(index) => RGBColor(2, index, 0),
            Self::Axis => RGBColor(3, 0, 0),
            Self::Grid => RGBColor(4, 0, 0),
            Self::Text => RGBColor(5, 0, 0),
            Self::Mark => RGBColor(6, 0, 0),
            Self::Stroke(index) => RGBColor(7, index, 0),
            Self::Dot(index) => RGBColor(8, index, 0),
            Self::Band => RGBColor(9, 0, 0),
        }
    }

    fn class(colour: BackendColor) -> String {
        match colour.rgb {
            (1, index, _) => format!("line s{index}"),
            (2, index, _) => format!("area s{index}"),
            (3, ..) => "axis".to_owned(),
            (4, ..) => "grid".to_owned(),
            (6, ..) => "mark".to_owned(),
            (9, ..) => "band".to_owned(),
            (7, index, _) => format!("stroke s{index}"),
            (8, index, _) => format!("dot s{index}"),
            _ => "text".to_owned(),
        }
    }
}

const PATH_END: &str = r#""/>"#;

/// Collects SVG elements.
pub(super) struct SvgBackend<'a> {
    body: &'a mut String,
    size: (u32, u32),
    /// Class of the element written last, when it is a path.
    open_path: Option<String>,
}

impl<'a> SvgBackend<'a> {
    /// Appends to `body`; `size` is in half CSS pixels.
    pub(super) const fn new(body: &'a mut String, size: (u32, u32)) -> Self {
        Self {
            body,
            size,
            open_path: None,
        }
    }

    fn path(
        &mut self,
        colour: BackendColor,
        points: impl IntoIterator<Item = BackendCoord>,
        close: bool,
    ) {
        let data = path_data(points, close);
        if data.is_empty() {
            return;
        }
        let class = Ink::class(colour);
        if self.open_path.as_ref() == Some(&class) {
            // One element for all pieces of a series: a fraction of the size.
            self.body.truncate(self.body.len() - PATH_END.len());
            self.body.push_str(&data);
            self.body.push_str(PATH_END);
        } else {
            self.element(&format!(r#"<path class="{class}" d="{data}{PATH_END}"#));
            self.open_path = Some(class);
        }
    }

    fn element(&mut self, element: &str) {
        self.body.push_str(element);
        self.open_path = None;
    }
}

/// Relative path commands; points equal to the one before are dropped.
fn path_data(points: impl IntoIterator<Item = BackendCoord>, close: bool) -> String {
    let mut data = String::new();
    let mut last: Option<BackendCoord> = None;
    for (x, y) in points {
        let written = match last {
            None => write!(data, "M{x} {y}"),
            Some(at) if at == (x, y) => Ok(()),
            Some((from_x, from_y)) if from_y == y => write!(data, "h{}", x - from_x),
            Some((from_x, from_y)) if from_x == x => write!(data, "v{}", y - from_y),
            Some((from_x, from_y)) => write!(data, "l{} {}", x - from_x, y - from_y),
        };
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        last = Some((x, y));
    }
    if close && !data.is_empty() {
        data.push('z');
    } else if !data.contains(['h', 'v', 'l']) && !data.is_empty() {
        // A line without length is drawn as a dot by its round ends.
        data.push_str("h0");
    }
    data
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for SvgBackend<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        if color.alpha > 0.0 {
            self.path(color, [(x, y), (x + 1, y)], false);
        }
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            self.path(style.color(), [from, to], false);
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        if style.color().alpha > 0.0 && fill {
            let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
            self.path(style.color(), corners, true);
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            self.path(style.color(), path, false);
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        (x, y): BackendCoord,
        radius: u32,
        style: &S,
        _fill: bool,
    ) -> Drawn {
        let class = Ink::class(style.color());
        self.element(&format!(
            r#"<circle class="{class}" cx="{x}" cy="{y}" r="{radius}"/>"#
        ));
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vert: I,
        style: &S,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            self.path(style.color(), vert, true);
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Drawn {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        // The middle of digits lies about a third of the size above the base line.
        #[expect(clippy::cast_possible_truncation, reason = "a font size in pixels")]
        let size = style.size() as i32;
        let y = match style.anchor().v_pos {
            VPos::Top => y + size * 4 / 5,
            VPos::Center => y + size / 3,
            VPos::Bottom => y - size / 5,
        };
        let text = escape::html(text);
        self.element(&format!(
            r#"<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#
        ));
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "pixels of a short label"
        )]
        let (width, height) = (
            (text.chars().count() as f64 * style.size() * CHARACTER_WIDTH).ceil() as u32,
            style.size().ceil() as u32,
        );
        Ok((width, height))
    }
}
