//! Object stores in a build without them: every address is refused.

use std::path::Path;

use analyzer::capture::Input;

use super::object::Object;
use crate::failure::Failure;

/// No store: there is no value of it.
#[derive(Clone, Debug)]
pub enum Store {}

impl Store {
    /// Refuses the address.
    ///
    /// # Errors
    /// Always.
    pub fn open(address: &str) -> Result<Self, Failure> {
        Err(Failure::Usage(format!(
            "{}: this build does not read object stores: build pcapdoc with `cargo build --release \
             --features object-store`",
            address.escape_debug()
        )))
    }

    pub fn list(&self) -> Result<Vec<Object>, Failure> {
        match *self {}
    }

    pub fn input(&self, _object: &Object) -> Result<Input, Failure> {
        match *self {}
    }

    pub fn fetch(&self, _name: &str, _to: &Path) -> Result<bool, Failure> {
        match *self {}
    }

    pub fn upload(&self, _from: &Path, _name: &str) -> Result<(), Failure> {
        match *self {}
    }

    pub fn remove(&self, _name: &str) -> Result<(), Failure> {
        match *self {}
    }

    pub fn names(&self, _below: &str) -> Result<Vec<String>, Failure> {
        match *self {}
    }
}
