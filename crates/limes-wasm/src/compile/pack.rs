//! Files that hold the machine code of many functions.

use super::key::FORMAT;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

/// What a function is found by.
pub(super) type Key = [u8; 32];

const MAGIC: [u8; 8] = *b"limesFNS";
const MAC: usize = 32;
/// Magic (8) and format (4, little-endian).
const HEAD: usize = 12;
/// Key (32) and length (4, little-endian) of what follows.
const ENTRY_HEAD: usize = 36;

/// What a pack's file is called; the rest of its name is 32 hexadecimal digits of its content's hash.
const PREFIX: &str = "functions-";

/// A pack whose authentication code has been checked.
pub(super) struct Pack {
    name: String,
    content: Vec<u8>,
    places: HashMap<Key, Range<usize>>,
}

/// A pack's name and content.
pub(super) fn seal(mac_key: &[u8; 32], functions: &BTreeMap<Key, Vec<u8>>) -> (String, Vec<u8>) {
    let size: usize = functions.values().map(|code| ENTRY_HEAD + code.len()).sum();
    let mut content = Vec::with_capacity(HEAD + size + MAC);
    content.extend(MAGIC);
    content.extend(FORMAT.to_le_bytes());
    for (key, code) in functions {
        // No function's code reaches 4 GiB: the engine's own tables are of 32 bits.
        let Ok(length) = u32::try_from(code.len()) else { continue };
        content.extend(key);
        content.extend(length.to_le_bytes());
        content.extend(code);
    }
    let mac = authentication_code(mac_key, &content);
    content.extend(mac.as_bytes());
    (format!("{PREFIX}{}", &mac.to_hex()[..32]), content)
}

/// Whether a file of this name is a pack.
pub(super) fn is_pack(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|digits| digits.len() == 32)
}

impl Pack {
    /// Reads `file` into memory, and checks there that it is a pack, whole, and written by a holder of `mac_key`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(name: &str, mut file: File, mac_key: &[u8; 32]) -> io::Result<Self> {
        let mut content = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
        file.read_to_end(&mut content)?;
        let end = content.len().checked_sub(MAC).ok_or_else(|| fault("it is too short"))?;
        let (sealed, mac) = content.split_at(end);
        // Nothing in the file is believed before this.
        let found: [u8; MAC] = mac.try_into().map_err(|_| fault("it is too short"))?;
        if authentication_code(mac_key, sealed) != found {
            return Err(fault("its authentication code is wrong"));
        }
        if sealed.len() < HEAD || sealed[..8] != MAGIC || sealed[8..HEAD] != FORMAT.to_le_bytes() {
            return Err(fault("it has another format"));
        }
        let places = places(sealed).ok_or_else(|| fault("its lengths do not add up"))?;
        Ok(Self { name: name.to_owned(), content, places })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.places.keys()
    }

    pub fn get(&self, key: &Key) -> Option<&[u8]> {
        self.places.get(key).map(|place| &self.content[place.clone()])
    }
}

fn places(sealed: &[u8]) -> Option<HashMap<Key, Range<usize>>> {
    let mut places = HashMap::new();
    let mut at = HEAD;
    while at < sealed.len() {
        let head = sealed.get(at..at + ENTRY_HEAD)?;
        let key: Key = head[..32].try_into().ok()?;
        let length = u32::from_le_bytes(head[32..].try_into().ok()?) as usize;
        let start = at + ENTRY_HEAD;
        at = start.checked_add(length).filter(|&end| end <= sealed.len())?;
        places.insert(key, start..at);
    }
    Some(places)
}

/// With a key of its own: what is an artifact's code is never a pack's.
fn authentication_code(mac_key: &[u8; 32], content: &[u8]) -> blake3::Hash {
    let key = blake3::derive_key("limes 2026 compile cache, packs of functions", mac_key);
    blake3::keyed_hash(&key, content)
}

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
