use limes_functions_logic::{Error, Files};
use std::path::PathBuf;

/// A directory of the operating system, or one that is granted to a component.
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn failed(&self, what: &str, name: &str, error: std::io::Error) -> Error {
        Error::new(format!("cannot {what} `{}`: {error}", self.0.join(name).display()))
    }
}

impl Files for Directory {
    fn read(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        std::fs::read(self.0.join(name)).map_err(|error| self.failed("read", name, error))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        std::fs::write(self.0.join(name), bytes).map_err(|error| self.failed("write", name, error))
    }
}
