//! Evidence that is read when it is needed: the blocks and answers of an hour do not fit into memory.

use crate::files::Place;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// Evidence in memory, or in a file.
#[derive(Debug, Clone)]
pub enum Stored<T> {
    /// In memory.
    Held(T),
    /// In this file, which is of a size that evidence may have.
    File(Place),
}

impl<T: Default> Default for Stored<T> {
    fn default() -> Self {
        Self::Held(T::default())
    }
}

impl<T> From<T> for Stored<T> {
    fn from(value: T) -> Self {
        Self::Held(value)
    }
}

impl Stored<Vec<u8>> {
    /// The bytes.
    ///
    /// # Errors
    /// In words: why the file cannot be read.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Self::Held(bytes) => Ok(bytes.into()),
            Self::File(place) => place.read().map(Cow::Owned).map_err(|e| e.to_string()),
        }
    }
}

impl<T: DeserializeOwned + Clone> Stored<Vec<T>> {
    /// The lines of the file, each of which is one value.
    ///
    /// # Errors
    /// In words: the file cannot be read, or this line is no such value. Then none of it counts.
    pub fn lines(&self) -> Result<Cow<'_, [T]>, String> {
        match self {
            Self::Held(lines) => Ok(lines.into()),
            Self::File(place) => {
                let bytes = place.read().map_err(|e| e.to_string())?;
                lines(&bytes).map(Cow::Owned)
            }
        }
    }

    /// The lines in memory, to be changed; none if they cannot be read.
    pub fn held(&mut self) -> &mut Vec<T> {
        if let Self::File(_) = self {
            *self = Self::Held(self.lines().map(Cow::into_owned).unwrap_or_default());
        }
        match self {
            Self::Held(lines) => lines,
            Self::File(_) => unreachable!("read above"),
        }
    }
}

/// One value per line.
///
/// # Errors
/// In words: which line is none.
pub(crate) fn lines<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let parsed = text.lines().enumerate().map(|(i, line)| {
        serde_json::from_str(line).map_err(|error| format!("line {}: {error}", i + 1))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_as_good_as_memory_until_it_is_gone() {
        let dir = tempfile::tempdir().expect("a disk");
        let path = dir.path().join("lines");
        fs::write(&path, "1\n22\n").expect("a disk");
        let file: Stored<Vec<u64>> = Stored::File(Place::File(path.clone()));
        let mut held = file.clone();
        assert_eq!(held.held(), &[1, 22]);
        assert_eq!(file.lines(), held.lines());
        let raw: Stored<Vec<u8>> = Stored::File(Place::File(path.clone()));
        assert_eq!(raw.bytes().as_deref(), Ok(&b"1\n22\n"[..]));
        fs::write(&path, "1\nx\n").expect("a disk");
        assert!(file.lines().is_err_and(|why| why.starts_with("line 2: ")));
        fs::write(&path, b"1\n\xff\n").expect("a disk");
        assert_eq!(file.lines(), Err("is not UTF-8".to_owned()));
        fs::remove_file(path).expect("a disk");
        assert!(file.lines().is_err() && raw.bytes().is_err());
    }
}
