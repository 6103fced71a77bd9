/// The name of an interface, taken apart: `wasi:http/types@0.2.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface<'a> {
    /// `wasi:http`
    pub package: &'a str,
    /// `types`
    pub name: &'a str,
    /// `0.2.3`
    pub version: Option<&'a str>,
}

/// Releases that answer for one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wasi {
    V02,
    V03,
}

impl<'a> Interface<'a> {
    /// `None` when `name` is a plain name and no interface.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (path, version) = match name.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (name, None),
        };
        let (package, name) = path.split_once('/')?;
        package.contains(':').then_some(Self { package, name, version })
    }

    /// Which WASI this is a release of. A pre-release is none: the engine links it with nothing but itself.
    pub fn wasi(self) -> Option<Wasi> {
        let release = self.version?.split('+').next()?;
        if release.contains('-') || !self.package.starts_with("wasi:") {
            None
        } else if release.starts_with("0.2.") {
            Some(Wasi::V02)
        } else if release.starts_with("0.3.") {
            Some(Wasi::V03)
        } else {
            None
        }
    }
}
