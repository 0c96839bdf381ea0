//! What a store says of an object.

/// An object of a store.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its address.
    pub address: String,
    /// Octets stored.
    pub octets: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub modified_ns: u64,
    /// What changes with its content, as the store says it.
    pub tag: String,
}
