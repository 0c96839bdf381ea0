//! Writes a made-up report in every format into the folder given as argument, to look at.

use std::fs;
use std::path::PathBuf;

use reports::render::terminal::Style;

#[path = "../tests/sample/mod.rs"]
mod sample;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .ok_or("give a folder to write into")?,
    );
    fs::create_dir_all(&folder)?;
    for (name, document) in [
        ("full", sample::document()),
        ("clean", sample::clean()),
        ("empty", sample::empty()),
    ] {
        let path = |ending: &str| folder.join(format!("{name}.{ending}"));
        fs::write(path("html"), reports::render::html::render(&document)?)?;
        fs::write(path("md"), reports::render::markdown::render(&document))?;
        fs::write(
            path("txt"),
            reports::render::terminal::render(&document, Style::default()),
        )?;
        reports::render::json::write(&document, fs::File::create(path("json"))?)?;
    }
    Ok(())
}
