use crate::Error;
use alloc::vec::Vec;

/// The one directory a function may use.
pub trait Files {
    /// The whole content of the file `name`.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    fn read(&mut self, name: &str) -> Result<Vec<u8>, Error>;

    /// Makes the file `name` hold `bytes`, whatever it held before.
    ///
    /// # Errors
    /// The file cannot be written.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error>;
}
