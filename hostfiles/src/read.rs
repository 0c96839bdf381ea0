//! Files and folders, line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use analyzer::Timestamp;

use crate::formats::{self, Format};
use crate::limits;
use crate::model::{Clock, Facts, HostFile, Kind};
use crate::out::{Out, Wanted};
use crate::place::LineRef;
use crate::text;

/// Octets at a file's beginning by which it is recognised.
const HEAD_BYTES: u64 = 64 * 1024;
/// Lines by which it is.
const HEAD_LINES: usize = 80;

/// Where a file's bytes come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// Bytes under a name.
    Bytes(String, Vec<u8>),
}

trait Bytes: BufRead + io::Seek {}
impl<T: BufRead + io::Seek> Bytes for T {}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Bytes(name, _) => name.clone(),
        }
    }

    fn folder(&self) -> String {
        let parent = |path: &Path| path.parent().map(|path| path.display().to_string());
        match self {
            Self::Path(path) => parent(path),
            Self::Bytes(name, _) => parent(Path::new(name)),
        }
        .unwrap_or_default()
    }

    fn open(&self) -> io::Result<Box<dyn Bytes + '_>> {
        Ok(match self {
            Self::Path(path) => Box::new(BufReader::with_capacity(1 << 18, File::open(path)?)),
            Self::Bytes(_, bytes) => Box::new(Cursor::new(bytes.as_slice())),
        })
    }
}

/// All host files of one analysis.
#[derive(Clone, Debug, Default)]
pub struct HostFiles {
    /// In the order given, those of folders by name.
    pub files: Vec<HostFile>,
    /// What they say.
    pub facts: Facts,
    sources: Vec<Source>,
}

impl HostFiles {
    /// Reads files, and the files of folders (and theirs). `taken` says when files were written:
    /// by the name as given, or the name alone. Of sockets, those are kept that are `wanted`.
    #[must_use]
    pub fn read(
        paths: &[PathBuf],
        taken: &BTreeMap<String, Timestamp>,
        wanted: Wanted<'_>,
    ) -> Self {
        let mut all = BTreeSet::new();
        let mut sources = Vec::new();
        for path in paths {
            let mut files = Vec::new();
            list(path, &mut files, 0);
            files.sort();
            let fresh = files.into_iter().filter(|file| all.insert(file.clone()));
            sources.extend(fresh.map(Source::Path));
        }
        sources.truncate(limits::FILES);
        Self::of(sources, taken, wanted)
    }

    /// Reads sources as [`Self::read`] does files.
    #[must_use]
    pub fn of(
        sources: Vec<Source>,
        taken: &BTreeMap<String, Timestamp>,
        wanted: Wanted<'_>,
    ) -> Self {
        let mut facts = Facts::default();
        let mut files = Vec::with_capacity(sources.len());
        for source in &sources {
            let name = source.name();
            let base = Path::new(&name).file_name();
            let base = base.map(|base| base.to_string_lossy().into_owned());
            let time = taken.get(&name);
            let time = time.or_else(|| base.as_ref().and_then(|base| taken.get(base)));
            let mut file = HostFile {
                folder: source.folder(),
                name,
                kind: Kind::Unknown,
                lines: 0,
                unread: 0,
                clock: Clock::None,
                taken: time.map(|time| time.as_nanos()),
                addresses: BTreeMap::new(),
                problem: None,
            };
            if let Err(error) = read_one(source, files.len(), &mut file, &mut facts, wanted) {
                file.problem = Some(format!("could not be read to its end: {error}"));
            }
            files.push(file);
        }
        Self {
            files,
            facts,
            sources,
        }
    }

    /// The text of a line, without its end; cut where it is very long.
    #[must_use]
    pub fn quote(&self, at: LineRef) -> String {
        let Some(source) = self.sources.get(at.file) else {
            return String::new();
        };
        let read = || -> io::Result<Vec<u8>> {
            let mut input = source.open()?;
            input.seek(SeekFrom::Start(at.offset))?;
            let mut line = Vec::new();
            let most = limits::QUOTED_BYTES as u64 * 4;
            input.take(most).read_until(b'\n', &mut line)?;
            Ok(line)
        };
        let line = read().unwrap_or_default();
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        match text.char_indices().nth(limits::QUOTED_BYTES) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        }
    }

    /// The name of a file's process, from the file or its neighbours.
    #[must_use]
    pub fn process_name(&self, file: usize, pid: u32) -> Option<&str> {
        let names = &self.facts.names;
        if let Some(name) = names.get(&(file, pid)) {
            return Some(name);
        }
        let folder = &self.files.get(file)?.folder;
        let files = self.files.iter().enumerate();
        let mut near = files.filter(|(_, other)| other.folder == *folder);
        near.find_map(|(at, _)| names.get(&(at, pid)).map(String::as_str))
    }
}

/// The files under `path`; folders to a depth that no collection needs.
fn list(path: &Path, files: &mut Vec<PathBuf>, depth: u32) {
    if depth > 8 || files.len() > limits::FILES {
        return;
    }
    if !path.is_dir() {
        files.push(path.to_owned());
        return;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let is_link = entry.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        if !is_link || entry.is_file() {
            list(&entry, files, depth + 1);
        }
    }
}

/// Recognises and reads one source.
fn read_one(
    source: &Source,
    number: usize,
    file: &mut HostFile,
    facts: &mut Facts,
    wanted: Wanted<'_>,
) -> io::Result<()> {
    if let Source::Path(path) = source
        && !path.is_file()
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut head = Vec::new();
    source.open()?.take(HEAD_BYTES).read_to_end(&mut head)?;
    let Some((kind, mut format)) = recognise(&head) else {
        return Ok(());
    };
    file.kind = kind;
    let mut input = source.open()?;
    let mut out = Out {
        facts,
        file,
        time: None,
        snapshot: 0,
        wanted,
    };
    let (mut offset, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let len = read_line(&mut input, &mut line)?;
        if len == 0 {
            break;
        }
        out.file.lines += 1;
        let at = LineRef {
            file: number,
            line: out.file.lines,
            offset,
        };
        offset += len;
        take(format.as_mut(), &line, at, &mut out);
    }
    format.finish(&mut out);
    Ok(())
}

/// Hands a line over, or takes it as the time of what follows.
fn take(format: &mut dyn Format, line: &[u8], at: LineRef, out: &mut Out<'_>) {
    let owned;
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(_) => {
            owned = String::from_utf8_lossy(line).into_owned();
            &owned
        }
    };
    let text = text.trim_end_matches(['\n', '\r']);
    if format.has_snapshots()
        && let Some((time, clock)) = text::read_time(text)
    {
        out.time = Some(time);
        out.file.clock = clock;
        out.snapshot += 1;
        format.mark(out);
        return;
    }
    if !format.line(text, at, out) && !text.trim().is_empty() {
        out.file.unread += 1;
    }
}

/// Reads a line, of which at most [`limits::LINE_BYTES`] are kept; gives its length in the file.
fn read_line(input: &mut dyn Bytes, line: &mut Vec<u8>) -> io::Result<u64> {
    let mut len = 0;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(len);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = end.map_or(buffer.len(), |end| end + 1);
        let room = limits::LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(&buffer[..part.min(room)]);
        input.consume(part);
        len += part as u64;
        if end.is_some() {
            return Ok(len);
        }
    }
}

/// What a file is by its beginning.
fn recognise(head: &[u8]) -> Option<(Kind, Box<dyn Format>)> {
    if head.contains(&0) {
        return None; // No text.
    }
    let text = String::from_utf8_lossy(head);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<&str> = lines.take(HEAD_LINES).collect();
    let mut known = formats::ALL.iter();
    let found = known.find(|known| (known.recognise)(&lines))?;
    Some((found.kind, (found.make)()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Interest;

    fn read(text: &[u8]) -> HostFiles {
        let source = Source::Bytes("folder/file".to_owned(), text.to_vec());
        HostFiles::of(vec![source], &BTreeMap::new(), &|_, _| Interest::Sure)
    }

    #[test]
    fn what_is_no_host_file_is_named_and_left() {
        for text in [
            &b""[..],
            b"\0\x01\x02",
            b"hello world\n",
            b"\xff\xfe\n",
            b"{}\n",
        ] {
            let files = read(text);
            assert_eq!(files.files[0].kind, Kind::Unknown, "{text:?}");
            assert_eq!(files.facts, Facts::default());
        }
        let none = HostFiles::read(&["/no/such/file".into()], &BTreeMap::new(), &|_, _| {
            Interest::Sure
        });
        assert!(none.files[0].problem.is_some());
    }

    #[test]
    fn quotes_a_line_from_its_place() {
        let text = b"State Recv-Q Send-Q Local Address:Port Peer Address:Port\nLISTEN 3 2 10.9.0.2:80 0.0.0.0:*\r\n";
        let files = read(text);
        let row = &files.facts.sockets[0];
        assert_eq!(row.place.at.line, 2);
        assert_eq!(
            files.quote(row.place.at),
            "LISTEN 3 2 10.9.0.2:80 0.0.0.0:*"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "(?s).{0,200}", from in 0..SEEDS.len(), cut in 0..400_usize) {
            let seed = SEEDS[from];
            let cut = seed.len().min(cut);
            let cut = (0..=cut).rev().find(|cut| seed.is_char_boundary(*cut)).unwrap_or(0);
            let _ = read(format!("{}{text}\n{}", &seed[..cut], &seed[cut..]).as_bytes());
        }
    }

    const SEEDS: &[&str] = &[
        "State Recv-Q Send-Q Local Address:Port Peer Address:Port\nESTAB 0 0 10.9.0.1:1 10.9.0.2:80 users:((\"a\",pid=1,fd=3)) timer:(on,1sec,0)\n",
        "1 10:00:00.1 recvfrom(3, \"abc\", 10, 0, NULL, NULL) = 3\n1 close(3) = 0\n",
        "#kernel\nTcpExtListenOverflows 3 0.0\n",
        "*nat\n[1:2] -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 80\nCOMMIT\n",
        "tcp 6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [ASSURED] use=1\n",
        "10.0.0.1 - - [24/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 502 1 \"-\" \"-\"\n",
        "table ip nat { # handle 1\n\tchain X {\n\t\ttcp dport 80 counter packets 0 bytes 0 redirect to :80\n",
    ];
}
