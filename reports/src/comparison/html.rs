//! One self-contained page: no request leaves it, it needs no script, and its first screen says
//! between which two points it happens, in which direction and when.

use std::fmt::Write as _;

use super::picture;
use super::{ComparisonDocument, PlacedFindingView, WayView, markdown, words};
use crate::Error;
use crate::render::html::{STYLE, policy};
use crate::words::escape::html as text;
use crate::words::format;

/// What the page of a comparison has beside the style of all pages.
const OWN_STYLE: &str = include_str!("style.css");

/// Connections in the table.
const CONNECTIONS: usize = 200;

/// Renders the page.
///
/// # Errors
/// None at present: the page is written from strings.
pub fn render(document: &ComparisonDocument) -> Result<String, Error> {
    let mut page = String::new();
    let style = format!("{STYLE}{OWN_STYLE}");
    let names: Vec<&str> = document
        .points
        .iter()
        .map(|point| point.name.as_str())
        .collect();
    let title = text(&names.join(" → "));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} – pcapdoc compare</title>\n<style>{style}</style>\n</head>\n<body>\n\
         <div class=\"top\"><p class=\"file\">{title}</p></div>\n<main>\n",
        policy(&style, ""),
    );
    verdict(&mut page, document);
    path(&mut page, document);
    findings(&mut page, document);
    connections(&mut page, document);
    captures(&mut page, document);
    method(&mut page, document);
    page.push_str("</main>\n</body>\n</html>\n");
    Ok(page)
}

fn verdict(page: &mut String, document: &ComparisonDocument) {
    let (class, label) = document
        .verdict
        .severity
        .map_or(("good", "good"), |severity| {
            (severity.as_str(), severity.as_str())
        });
    let _ = writeln!(
        page,
        "<section class=\"verdict\"><p class=\"tags\"><span class=\"badge {class}\">{label}</span>\
         <span>{}</span></p><h1>{}</h1></section>",
        text(&words::scope(document)),
        text(&document.verdict.sentence),
    );
}

fn path(page: &mut String, document: &ComparisonDocument) {
    if document.hops.is_empty() {
        return;
    }
    page.push_str("<section id=\"path\"><h2>The path</h2>\n");
    page.push_str(&picture::path(document));
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Direction</th>\
         <th scope=\"col\" class=\"n\">Segments</th><th scope=\"col\" class=\"n\">Lost</th>\
         <th scope=\"col\" class=\"n\">Missed by a capture</th><th scope=\"col\" class=\"n\">Reordered</th>\
         <th scope=\"col\" class=\"n\">Copied</th><th scope=\"col\" class=\"n\">Made</th>\
         <th scope=\"col\">One-way delay</th><th scope=\"col\">Changed</th></tr></thead><tbody>\n",
    );
    for hop in &document.hops {
        for (name, way) in words::ways(hop) {
            row(page, &name, way);
        }
    }
    page.push_str("</tbody></table></div>\n");
    page.push_str(&picture::heat(document));
    page.push_str("<ul>\n");
    let requests = document.hops.iter().filter_map(words::requests);
    let clocks = document.clocks.iter().map(words::clock);
    for line in requests.chain(clocks).chain(words::unpaired(document)) {
        let _ = writeln!(page, "<li>{}.</li>", text(&line));
    }
    page.push_str("</ul></section>\n");
}

fn row(page: &mut String, name: &str, way: &WayView) {
    let _ = writeln!(
        page,
        "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td>{}</td><td class=\"wrap\">{}</td></tr>",
        text(name),
        format::count(way.segments),
        text(&words::lost(way)),
        text(&words::missed(way)),
        way.reordered,
        way.duplicated,
        way.made,
        text(&words::delay(way.delay_ms.as_ref())),
        text(&words::changed(way)),
    );
}

fn findings(page: &mut String, document: &ComparisonDocument) {
    page.push_str("<section id=\"findings\"><h2>Findings</h2>\n");
    if document.findings.is_empty() {
        page.push_str("<p>None.</p>\n");
    }
    for placed in &document.findings {
        finding(page, document, placed);
    }
    page.push_str("</section>\n");
}

fn finding(page: &mut String, document: &ComparisonDocument, placed: &PlacedFindingView) {
    let finding = &placed.finding;
    let _ = writeln!(
        page,
        "<article class=\"finding\" id=\"{id}\"><p class=\"tags\"><span class=\"badge \
        {severity}\">{severity}</span>\
         <span>{id}</span><strong>{place}</strong><span>{rule}</span><span>confidence {confidence}</span></p>\
         <h3>{title}</h3>",
        id = text(&finding.id),
        severity = finding.severity.as_str(),
        place = text(&words::place(placed)),
        rule = text(&finding.rule),
        confidence = text(&format::confidence(finding.confidence)),
        title = text(&finding.title),
    );
    if !finding.summary.is_empty() {
        let _ = writeln!(page, "<p class=\"lead\">{}</p>", text(&finding.summary));
    }
    if !finding.why.is_empty() {
        page.push_str("<ul>");
        for why in &finding.why {
            let _ = write!(page, "<li>{}</li>", text(why));
        }
        page.push_str("</ul>\n");
    }
    if !finding.evidence.is_empty() {
        page.push_str("<h4>Evidence</h4>\n");
        page.push_str(&picture::ladder(document, placed));
        evidence(page, placed);
    }
    let lines = finding.host_evidence.as_deref().unwrap_or_default();
    if !lines.is_empty() {
        page.push_str("<h4>What the hosts say</h4><ul>");
        for line in lines {
            let _ = write!(
                page,
                "<li>{} <code>{}:{}</code> <code>{}</code> {}</li>",
                line.says.as_str(),
                text(&line.file),
                line.line,
                text(line.text.trim()),
                text(&line.note)
            );
        }
        page.push_str("</ul>\n");
    }
    if !finding.remedy.is_empty() {
        page.push_str("<h4>Fix</h4><ul>");
        for remedy in &finding.remedy {
            let _ = write!(
                page,
                "<li>{}</li>",
                text(&format::advice(&remedy.product, &remedy.text))
            );
        }
        page.push_str("</ul>\n");
    }
    if !finding.explained_by.is_empty() {
        let _ = writeln!(
            page,
            "<p>Explained by {}.</p>",
            text(&finding.explained_by.join(", "))
        );
    }
    if let Some(file) = &finding.evidence_file {
        let _ = writeln!(page, "<p>Frames: <code>{}</code></p>", text(file));
    }
    page.push_str("</article>\n");
}

fn evidence(page: &mut String, placed: &PlacedFindingView) {
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Frame</th><th \
        scope=\"col\">Time</th>\
         <th scope=\"col\">Connection</th><th scope=\"col\">Flags</th><th scope=\"col\" class=\"n\">Relative seq</th>\
         <th scope=\"col\" class=\"n\">Length</th><th scope=\"col\">What</th></tr></thead><tbody>\n",
    );
    for one in &placed.finding.evidence {
        let ends = format!("{} – {}", one.connection.client, one.connection.server);
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"wrap\">{}</td></tr>",
            text(&words::frame(one.point.as_ref(), one.frame)),
            text(format::time_of_day(&one.time)),
            text(&ends),
            text(&one.flags),
            one.relative_seq,
            one.payload_bytes,
            text(&one.note),
        );
    }
    page.push_str("</tbody></table></div>\n");
}

fn connections(page: &mut String, document: &ComparisonDocument) {
    if document.connections.is_empty() {
        return;
    }
    page.push_str(
        "<section id=\"tables\"><h2>Connections</h2><div class=\"scroll tall\"><table><thead><tr>\
         <th scope=\"col\">Client → server</th><th scope=\"col\">Paired by</th><th scope=\"col\">Translated</th>\
         <th scope=\"col\" class=\"n\">Lost</th><th scope=\"col\">Median delays</th></tr></thead><tbody>\n",
    );
    for connection in document.connections.iter().take(CONNECTIONS) {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td \
            class=\"n\">{}</td><td>{}</td></tr>",
            text(&markdown::ends(connection)),
            text(&connection.paired_by),
            if connection.translated { "yes" } else { "no" },
            markdown::lost(connection),
            text(&markdown::delays(connection)),
        );
    }
    page.push_str("</tbody></table></div>\n");
    let more = document.connection_total.saturating_sub(CONNECTIONS as u64);
    if more > 0 {
        let _ = writeln!(
            page,
            "<p>{} more are in the JSON document.</p>",
            format::count(more)
        );
    }
    page.push_str("</section>\n");
}

fn captures(page: &mut String, document: &ComparisonDocument) {
    page.push_str("<section id=\"method\"><h2>How far the captures can be trusted</h2>\n");
    for point in &document.points {
        let files: Vec<&str> = point.files.iter().map(|file| file.name.as_str()).collect();
        let _ = writeln!(
            page,
            "<h3>{}</h3><p>{} from {} to {}, {} of which no copy is here although they passed. \
            Files: {}.</p>",
            text(&point.name),
            format::counted(point.packets, "packet"),
            text(&point.start),
            text(&point.end),
            format::counted(point.missed, "packet"),
            text(&files.join(", ")),
        );
        for file in point.host_evidence.iter().flatten() {
            let _ = writeln!(
                page,
                "<p>Of its hosts: {}.</p>",
                text(&words::host_file(file))
            );
        }
        for note in &point.quality {
            let _ = writeln!(
                page,
                "<p class=\"callout\">{}: {}</p>",
                text(&note.kind),
                text(&note.note)
            );
        }
    }
    for notice in &document.notices {
        let _ = writeln!(page, "<p class=\"callout\">{}</p>", text(notice));
    }
    page.push_str("</section>\n");
}

fn method(page: &mut String, document: &ComparisonDocument) {
    let _ = writeln!(
        page,
        "<footer><p>pcapdoc {} {}. Order of the points by {}. Segments are matched by byte range, IP \
         identification, timestamps and time; acknowledgments tell what a capture missed from what was lost.</p></footer>",
        text(&document.tool.version),
        text(&document.tool.arguments.join(" ")),
        text(&document.order_basis),
    );
}
