//! `pcapdoc inspect`: what is in a capture, without judging it.

use std::io::{self, Write};
use std::process::ExitCode;

use analyzer::QualityKind;
use analyzer::capture::ReadOptions;
use analyzer::inspect::{self, Inspection};

use crate::cli::{InspectArguments, InspectFormat};
use crate::failure::Failure;
use crate::inputs::inputs;
use crate::interrupt;
use crate::output::write_stdout;

/// Comments that people get to see; the JSON has more.
const COMMENTS: usize = 10;

/// Runs the subcommand.
pub fn run(arguments: &InspectArguments) -> Result<ExitCode, Failure> {
    let stop = interrupt::stop_first();
    let options = ReadOptions {
        stop: stop.clone(),
        ..ReadOptions::default()
    };
    let inspection =
        inspect::inspect(&inputs(&arguments.captures)?, options).map_err(Failure::Input)?;
    let mut damage = inspection.quality.iter();
    if arguments.strict
        && let Some(note) = damage.find(|note| note.kind == QualityKind::CutShort)
    {
        return Err(Failure::Incomplete(note.note.clone()));
    }
    write_stdout(|out| match arguments.format {
        InspectFormat::Text => text(&inspection, out),
        InspectFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, &inspection)?;
            writeln!(out)
        }
    })?;
    Ok(if stop.is_set() {
        interrupt::exit_code()
    } else {
        ExitCode::SUCCESS
    })
}

/// Names, comments and notes come from files: they are escaped.
fn text(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    for file in &inspection.files {
        writeln!(out, "File        {}", file.name.escape_debug())?;
        writeln!(
            out,
            "            {}, {} bytes, {} packets",
            file.format, file.stored_bytes, file.packets
        )?;
    }
    totals(inspection, out)?;
    for interface in &inspection.interfaces {
        let name = interface.name.as_deref().unwrap_or("(no name)");
        write!(
            out,
            "Interface   {}: {}, {} packets",
            name.escape_debug(),
            interface.link_type,
            interface.packets
        )?;
        match interface.snaplen {
            0 => {}
            snaplen => write!(out, ", snap length {snaplen}")?,
        }
        match interface.drops {
            Some(drops) => writeln!(out, ", {drops} dropped by the capturing host")?,
            None => writeln!(out)?,
        }
    }
    counted("Protocols", inspection.protocols.iter(), out)?;
    counted("Undecoded", inspection.undecoded.iter(), out)?;
    for flow in &inspection.opaque {
        writeln!(
            out,
            "Encrypted   {}: {} to {}, {} packets, {} bytes",
            flow.protocol, flow.from, flow.to, flow.packets, flow.bytes
        )?;
    }
    for comment in inspection.comments.iter().take(COMMENTS) {
        let place = comment
            .frame
            .map_or_else(|| "file".to_owned(), |frame| format!("frame {frame}"));
        writeln!(out, "Comment     {place}: {}", comment.text.escape_debug())?;
    }
    for note in &inspection.quality {
        writeln!(
            out,
            "Caveat      {}: {}",
            note.kind.as_str(),
            note.note.escape_debug()
        )?;
    }
    Ok(())
}

fn totals(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "Packets     {}, {} bytes on the wire, {} captured",
        inspection.packets, inspection.bytes, inspection.captured_bytes
    )?;
    if let Some(sizes) = inspection.packet_bytes {
        writeln!(
            out,
            "Sizes       {} to {} bytes, {:.1} on average; {} cut by the snap length",
            sizes.min, sizes.max, sizes.mean, inspection.cut_packets
        )?;
    }
    let (Some(first), Some(last)) = (&inspection.first, &inspection.last) else {
        return Ok(());
    };
    writeln!(out, "First       {first}")?;
    writeln!(
        out,
        "Last        {last} ({:.6} s later)",
        inspection.duration_s
    )?;
    match inspection.out_of_order_packets {
        0 => writeln!(out, "Order       timestamps never go backwards"),
        count => writeln!(
            out,
            "Order       {count} packets are older than the one before them"
        ),
    }
}

fn counted<'a>(
    title: &str,
    counts: impl Iterator<Item = (impl AsRef<str> + 'a, &'a u64)>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut title = title;
    for (name, count) in counts {
        writeln!(
            out,
            "{title:<11} {count:>10}  {}",
            name.as_ref().escape_debug()
        )?;
        title = "";
    }
    Ok(())
}
