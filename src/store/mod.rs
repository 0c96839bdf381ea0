//! Addresses of object stores: captures, datasets and results that are no files of this machine.
//!
//! Nothing else in the program opens a connection, and only a build with the feature `object-store` has
//! what is needed for it. A connection is opened when an address is given on the command line, and to
//! that address (or the endpoint that the environment names) alone.

use std::path::Path;

#[cfg(feature = "object-store")]
mod client;
mod object;
#[cfg(feature = "object-store")]
mod reader;
#[cfg(feature = "object-store")]
mod runtime;
#[cfg(not(feature = "object-store"))]
mod without;

#[cfg(feature = "object-store")]
pub use client::Store;
pub use object::Object;
#[cfg(not(feature = "object-store"))]
pub use without::Store;

/// What addresses begin with.
const SCHEMES: [&str; 5] = ["s3://", "gs://", "az://", "http://", "https://"];

/// An address, when the path is one.
pub fn address(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let is_address = SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    is_address.then_some(text)
}
