//! SHA-256 of the input files, so that a report says which bytes it was made from.
//!
//! Hashing a whole large capture would take longer than analysing it: beyond a size only both
//! ends are hashed, and the report says so.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rayon::prelude::*;
use reports::Document;
use reports::document::FileHash;
use sha2::{Digest, Sha256};

/// Longest file that is hashed whole.
const WHOLE_BYTES: u64 = 16 << 20;

/// What is hashed at each end of a longer one.
const END_BYTES: u64 = 1 << 20;

/// The hash of every file that the document names, in its order, where it can still be read.
pub fn of_files(document: &Document) -> Vec<Option<FileHash>> {
    let files = document.capture.files.par_iter();
    files
        .map(|file| of(Path::new(&file.name)).ok().flatten())
        .collect()
}

/// `None` for what is no regular file: a pipe cannot be read again.
fn of(path: &Path) -> io::Result<Option<FileHash>> {
    if !path.metadata()?.is_file() {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut hasher = Sha256::new();
    let is_whole = length <= WHOLE_BYTES;
    if is_whole {
        // A file may grow meanwhile.
        feed(&mut hasher, (&mut file).take(length))?;
    } else {
        feed(&mut hasher, (&mut file).take(END_BYTES))?;
        file.seek(SeekFrom::Start(length - END_BYTES))?;
        feed(&mut hasher, (&mut file).take(END_BYTES))?;
    }
    let digest = hasher.finalize();
    Ok(Some(FileHash {
        sha256: digest.iter().map(|octet| format!("{octet:02x}")).collect(),
        end_bytes: (!is_whole).then_some(END_BYTES),
    }))
}

fn feed(hasher: &mut Sha256, mut input: impl Read) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &str, content: &[u8]) -> FileHash {
        let path = std::env::temp_dir().join(format!("pcapdoc-{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let hash = of(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        hash
    }

    #[test]
    fn a_short_file_is_hashed_whole() {
        let hash = hash("short", b"abc");
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            hash.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(hash.end_bytes, None);
    }

    #[test]
    fn of_a_long_file_both_ends_count_and_the_middle_does_not() {
        let length = usize::try_from(WHOLE_BYTES + 100).unwrap();
        let mut content = vec![0; length];
        let zeros = hash("zeros", &content);
        assert_eq!(zeros.end_bytes, Some(END_BYTES));
        content[length / 2] = 1;
        assert_eq!(hash("middle", &content), zeros);
        content[length - 1] = 1;
        assert_ne!(hash("end", &content), zeros);
    }

    #[test]
    fn a_folder_has_no_hash() {
        assert_eq!(of(&std::env::temp_dir()).unwrap(), None);
    }
}
