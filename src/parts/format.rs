//! How values travel in rows: a mark, the number of the format, and the value, packed.
//!
//! The form is postcard's, which follows from the types alone: a value can be read only by a program
//! whose types are the same. Therefore the version of the program is part of the mark, and what any
//! other version wrote is refused.

use std::io::Read;
use std::path::Path;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::Failure;

/// Raised with every change of what is written, within one version of the program.
pub const FORMAT: u16 = 3;

/// Before every value.
const MARK: &[u8; 8] = b"pcapdoc:";

/// Larger than any value: what claims to be longer is damaged.
const LONGEST: u64 = 4 << 30;

/// Packs quickly: values are written once and read once.
const LEVEL: i32 = 1;

/// The version of the form.
fn version() -> String {
    format!("{FORMAT}/{}", env!("CARGO_PKG_VERSION"))
}

/// Octets, packed at once and not one by one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Octets(pub Vec<u8>);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Octets;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("octets")
            }

            fn visit_bytes<E>(self, octets: &[u8]) -> Result<Octets, E> {
                Ok(Octets(octets.to_vec()))
            }
        }
        from.deserialize_bytes(Reader)
    }
}

/// A value, to be read by [`read`].
pub fn write(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let plain = postcard::to_stdvec(value).map_err(|error| Failure::Internal(error.to_string()))?;
    let packed = zstd::bulk::compress(&plain, LEVEL);
    let packed = packed.map_err(|error| Failure::Internal(error.to_string()))?;
    let version = version();
    let mut bytes = MARK.to_vec();
    bytes.push(u8::try_from(version.len()).unwrap_or(u8::MAX));
    bytes.extend(version.as_bytes());
    bytes.extend(packed);
    Ok(bytes)
}

/// Reads a value that [`write`] wrote; `what` names it in messages.
///
/// # Errors
/// When it is none, or one of another version.
pub fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Failure> {
    let refused = |message: String| Failure::Input(analyzer::Error::new(Path::new(what), message));
    let rest = bytes.strip_prefix(MARK.as_slice());
    let split = rest.and_then(|rest| {
        let (length, rest) = rest.split_first()?;
        rest.split_at_checked(usize::from(*length))
    });
    let Some((found, packed)) = split else {
        return Err(refused("is nothing that pcapdoc wrote".to_owned()));
    };
    let ours = version();
    if found != ours.as_bytes() {
        return Err(refused(format!(
            "was written by another version of pcapdoc ({}; this is {ours}): have segment, judge and \
             conclude done by one version",
            String::from_utf8_lossy(found).escape_debug()
        )));
    }
    let damaged = |error: &dyn std::fmt::Display| refused(format!("is damaged: {error}"));
    let mut plain = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(packed).map_err(|error| damaged(&error))?;
    let read = decoder.take(LONGEST).read_to_end(&mut plain);
    read.map_err(|error| damaged(&error))?;
    postcard::from_bytes(&plain).map_err(|error| damaged(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let value = (7_u64, "text".to_owned(), vec![1_u8; 9000]);
        let bytes = write(&value).unwrap();
        assert!(bytes.len() < 200);
        assert_eq!(read::<(u64, String, Vec<u8>)>(&bytes, "x").unwrap(), value);
        for len in 0..bytes.len() {
            assert!(read::<(u64, String, Vec<u8>)>(&bytes[..len], "x").is_err());
        }
    }

    #[test]
    fn an_older_value_is_refused_in_one_clear_line() {
        let mut bytes = write(&7_u64).unwrap();
        assert_eq!(bytes[MARK.len() + 1], b'3');
        bytes[MARK.len() + 1] = b'0';
        let error = read::<u64>(&bytes, "shard 3").unwrap_err().to_string();
        assert!(
            error.starts_with("shard 3: was written by another version of pcapdoc (0/"),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }
}
