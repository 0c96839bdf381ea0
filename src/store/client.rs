//! A client of object stores. The rest of the program waits: a runtime of one thread does the network.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use analyzer::capture::{Input, Stored};
use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, WriteMultipart, parse_url_opts,
};
use url::Url;

use super::object::Object;
use super::reader::StoreObject;
use super::runtime::{one_line, runtime};
use crate::failure::Failure;

/// Octets of a part of an upload: 10,000 parts are 160 GB.
const PART: usize = 16 << 20;

/// Parts of an upload on their way at one time.
const PARTS: usize = 4;

/// A place in a store: an object, or what is below a prefix.
#[derive(Clone, Debug)]
pub struct Store {
    /// Scheme and bucket, as given.
    root: String,
    prefix: Key,
    store: Arc<dyn ObjectStore>,
}

impl Store {
    /// The place that an address names. Credentials and endpoints are those of the environment.
    ///
    /// # Errors
    /// When it is no address, or the environment does not say what is needed.
    pub fn open(address: &str) -> Result<Self, Failure> {
        let refused = |error: &dyn std::fmt::Display| {
            let message = format!("{}: {}", address.escape_debug(), one_line(error));
            Failure::Usage(message)
        };
        let url = Url::parse(address).map_err(|error| refused(&error))?;
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| {
                let starts = ["AWS_", "GOOGLE_", "AZURE_"];
                starts.iter().any(|start| name.starts_with(start))
            });
        // Who writes http:// wants it without TLS.
        let plain = (url.scheme() == "http").then(|| ("allow_http".to_owned(), "true".to_owned()));
        let environment = environment.chain(plain);
        let (store, prefix) = parse_url_opts(&url, environment).map_err(|error| refused(&error))?;
        Ok(Self {
            root: url[..url::Position::BeforePath].to_owned(),
            prefix,
            store: Arc::from(store),
        })
    }

    /// The object of this address or, when there is none, those below it, by name.
    ///
    /// # Errors
    /// When the store does not answer, or there is nothing.
    pub fn list(&self) -> Result<Vec<Object>, Failure> {
        let here = self.address(&self.prefix);
        if !self.prefix.as_ref().is_empty() {
            match self.wait(self.store.head(&self.prefix)) {
                Ok(found) => return Ok(vec![self.object(&found)]),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(unreadable(&here, &error)),
            }
        }
        // Page after page, as many as there are.
        let listing = self
            .store
            .list(Some(&self.prefix))
            .try_collect::<Vec<ObjectMeta>>();
        let found = self
            .wait(listing)
            .map_err(|error| unreadable(&here, &error))?;
        let mut objects: Vec<Object> = found.iter().map(|found| self.object(found)).collect();
        objects.retain(|object| object.octets > 0);
        objects.sort_by(|a, b| a.address.cmp(&b.address));
        if objects.is_empty() {
            return Err(Failure::Input(analyzer::Error::new(
                PathBuf::from(here),
                "there is no such object, and none below it",
            )));
        }
        Ok(objects)
    }

    /// An object that was listed, as an input.
    ///
    /// # Errors
    /// When its address is none.
    pub fn input(&self, object: &Object) -> Result<Input, Failure> {
        let internal = || Failure::Internal(format!("{} is not of this store", object.address));
        let key = object
            .address
            .strip_prefix(&self.root)
            .ok_or_else(internal)?;
        let key = Key::parse(key.trim_start_matches('/')).map_err(|_| internal())?;
        let stored = StoreObject::new(Arc::clone(&self.store), key, object.octets);
        Ok(Input::Stored(Stored::new(
            PathBuf::from(&object.address),
            Arc::new(stored),
        )))
    }

    /// Copies an object below this place into a file; false when there is none.
    ///
    /// # Errors
    /// When the store does not answer, or the file cannot be written.
    pub fn fetch(&self, name: &str, to: &Path) -> Result<bool, Failure> {
        let key = self.below(name);
        let address = self.address(&key);
        let found = match self.wait(self.store.head(&key)) {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(unreadable(&address, &error)),
        };
        let failed = |error| Failure::output(to, error);
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = File::create(to).map_err(failed)?;
        let object = StoreObject::new(Arc::clone(&self.store), key, found.size);
        let mut reader = object.read().map_err(failed)?;
        io::copy(&mut reader, &mut file)
            .and_then(|_| file.flush())
            .map_err(failed)?;
        Ok(true)
    }

    /// Writes a file as an object below this place, in parts when it is large. The object is there when
    /// all of it is.
    ///
    /// # Errors
    /// When the file cannot be read, or the store does not take it.
    pub fn upload(&self, from: &Path, name: &str) -> Result<(), Failure> {
        let key = self.below(name);
        let address = PathBuf::from(self.address(&key));
        let mut file = File::open(from).map_err(|error| Failure::output(from, error))?;
        let length = file
            .metadata()
            .map_err(|error| Failure::output(from, error))?
            .len();
        let failed = |error: Error| Failure::output(&address, io::Error::other(one_line(&error)));
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(PART).min(PART)];
        if length <= PART as u64 {
            file.read_exact(&mut buffer)
                .map_err(|error| Failure::output(from, error))?;
            let put = self.store.put(&key, buffer.into());
            return self.wait(put).map(|_| ()).map_err(failed);
        }
        self.wait(async {
            let upload = self.store.put_multipart(&key).await.map_err(failed)?;
            let mut parts = WriteMultipart::new_with_chunk_size(upload, PART);
            loop {
                let read = file
                    .read(&mut buffer)
                    .map_err(|error| Failure::output(from, error))?;
                if read == 0 {
                    break;
                }
                parts.wait_for_capacity(PARTS).await.map_err(failed)?;
                parts.write(&buffer[..read]);
            }
            parts.finish().await.map(|_| ()).map_err(failed)
        })
    }

    /// Removes an object below this place; gone already is as good.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        let key = self.below(name);
        match self.wait(self.store.delete(&key)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unreadable(&self.address(&key), &error)),
        }
    }

    /// The names of the objects below a folder of this place, relative to the place.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn names(&self, below: &str) -> Result<Vec<String>, Failure> {
        let folder = self.below(below);
        let listing = self
            .store
            .list(Some(&folder))
            .try_collect::<Vec<ObjectMeta>>();
        let found = self
            .wait(listing)
            .map_err(|error| unreadable(&self.address(&folder), &error))?;
        let place = self.prefix.as_ref();
        let relative = |found: ObjectMeta| {
            let name = found.location.as_ref().strip_prefix(place)?;
            Some(name.trim_start_matches('/').to_owned())
        };
        let mut names: Vec<String> = found.into_iter().filter_map(relative).collect();
        names.sort();
        Ok(names)
    }

    fn below(&self, name: &str) -> Key {
        let parts = name.split('/').filter(|part| !part.is_empty());
        // A part may have percent signs of its own, as folders of the dataset do.
        let place = self.prefix.as_ref();
        let all = place
            .split('/')
            .filter(|part| !part.is_empty())
            .chain(parts);
        let text = all.collect::<Vec<_>>().join("/");
        Key::parse(&text).unwrap_or_else(|_| Key::from(text))
    }

    fn object(&self, found: &ObjectMeta) -> Object {
        let modified = found.last_modified.timestamp_nanos_opt().unwrap_or(0);
        Object {
            address: self.address(&found.location),
            octets: found.size,
            modified_ns: u64::try_from(modified).unwrap_or(0),
            tag: found.e_tag.clone().unwrap_or_default(),
        }
    }

    fn address(&self, key: &Key) -> String {
        format!("{}/{key}", self.root)
    }

    fn wait<T, E: From<Failed>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match runtime() {
            Ok(runtime) => runtime.block_on(work),
            Err(error) => Err(Failed(error).into()),
        }
    }
}

/// The runtime could not be started.
struct Failed(io::Error);

impl From<Failed> for Error {
    fn from(Failed(error): Failed) -> Self {
        Self::Generic {
            store: "runtime",
            source: Box::new(error),
        }
    }
}

impl From<Failed> for Failure {
    fn from(Failed(error): Failed) -> Self {
        Self::Internal(error.to_string())
    }
}

fn unreadable(address: &str, error: &Error) -> Failure {
    let error = io::Error::other(one_line(error));
    let name = PathBuf::from(address);
    Failure::Input(analyzer::Error::new(name, "cannot be read").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_uploaded_in_parts_comes_back_whole() {
        let place = Store {
            root: "s3://bucket".to_owned(),
            prefix: Key::from("out"),
            store: Arc::new(object_store::memory::InMemory::new()),
        };
        let folder = tempfile::tempdir().unwrap();
        let octets = |length: usize| (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>();
        for length in [0, 1, PART, 2 * PART + 7] {
            let from = folder.path().join("from");
            std::fs::write(&from, octets(length)).unwrap();
            place
                .upload(&from, "date=2026-11-30/capture_group=a%20b/x.parquet")
                .unwrap();
            let names = place.names("date=2026-11-30").unwrap();
            assert_eq!(names, ["date=2026-11-30/capture_group=a%20b/x.parquet"]);
            let to = folder.path().join("a/to");
            assert!(place.fetch(&names[0], &to).unwrap());
            assert_eq!(std::fs::read(&to).unwrap().len(), length);
            assert!(std::fs::read(&to).unwrap() == octets(length), "{length}");
            place.remove(&names[0]).unwrap();
            place.remove(&names[0]).unwrap();
            assert!(!place.fetch(&names[0], &to).unwrap());
        }
    }
}
