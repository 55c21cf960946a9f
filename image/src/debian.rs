//! Debian packages, from the mirror that this machine's apt is set up for, through a private apt
//! that verifies Debian's signatures. The machine's own apt is only read.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::ImageError;
use crate::files;
use crate::manifest::Package;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where packages come from and are kept.
#[derive(Debug)]
pub struct Debian {
    /// Private apt folders.
    apt: PathBuf,
    /// Packages by SHA-256: kept across builds and checkouts.
    cache: PathBuf,
}

/// A package that is here, with the hash that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deb {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// The file.
    pub path: PathBuf,
}

/// What the signed index says of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    depends: String,
}

impl Debian {
    /// With apt's folders below `target`.
    pub fn new(target: &Path) -> Self {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let cache = match caches {
            Some(caches) => caches.join("neo-secrets/debs"),
            None => target.join("debs"),
        };
        Self { apt: target.join("apt"), cache }
    }

    /// The pinned version of a package: from the cache, else from the mirror.
    ///
    /// # Errors
    /// No suite has that version any more, or its bytes are not the pinned ones.
    pub fn pinned(&self, package: &Package) -> Result<Deb, ImageError> {
        let Package { follow: _, suites, name, version, sha256 } = package;
        if let Some(deb) = self.cached(name, version, sha256)? {
            return Ok(deb);
        }
        let apt = Apt::update(&self.apt, suites)?;
        let listed = apt.show(name, Some(version))?.ok_or_else(|| ImageError::VersionGone {
            name: name.clone(),
            version: version.clone(),
            suites: suites.join(", "),
        })?;
        self.download(&apt, &listed, sha256)
    }

    /// The newest version.
    ///
    /// # Errors
    /// No suite has the package, or the mirror does not answer.
    pub fn newest(&self, package: &Package) -> Result<Deb, ImageError> {
        let apt = Apt::update(&self.apt, &package.suites)?;
        let listed = apt.newest(package)?;
        match self.cached(&listed.name, &listed.version, &listed.sha256)? {
            Some(deb) => Ok(deb),
            None => self.download(&apt, &listed, &listed.sha256),
        }
    }

    /// What the index says of the newest version.
    ///
    /// # Errors
    /// No suite has the package, or the mirror does not answer.
    pub fn newest_listed(&self, package: &Package) -> Result<Listed, ImageError> {
        Apt::update(&self.apt, &package.suites)?.newest(package)
    }

    fn cached(&self, name: &str, version: &str, sha256: &str) -> Result<Option<Deb>, ImageError> {
        let path = self.cache.join(format!("{sha256}.deb"));
        if !path.is_file() || files::hex(&files::sha256(&files::read(&path)?)) != sha256 {
            return Ok(None);
        }
        let (name, version, sha256) = (name.to_owned(), version.to_owned(), sha256.to_owned());
        Ok(Some(Deb { name, version, sha256, path }))
    }

    fn download(&self, apt: &Apt, listed: &Listed, sha256: &str) -> Result<Deb, ImageError> {
        let Listed { name, version, .. } = listed;
        let folder = apt.folder.join("download");
        files::remove_folder(&folder)?;
        files::make_folder(&folder)?;
        let wanted = format!("{name}={version}");
        files::run(apt.command("apt-get").current_dir(&folder).args(["-qq", "download", &wanted]))?;
        let found = files::below(&folder)?;
        let [file] = found.as_slice() else {
            return Err(ImageError::NotOne { what: "a download", got: found.len() });
        };
        let bytes = files::read(file)?;
        let got = files::hex(&files::sha256(&bytes));
        if got != sha256 {
            let expected = sha256.to_owned();
            return Err(ImageError::PackageHash { name: name.clone(), got, expected });
        }
        // Written whole before it has its name: another build may read it.
        files::make_folder(&self.cache)?;
        let path = self.cache.join(format!("{sha256}.deb"));
        let part = self.cache.join(format!("{sha256}.{}.part", std::process::id()));
        files::write(&part, bytes)?;
        std::fs::rename(&part, &path).map_err(|source| files::at(&path, source))?;
        files::remove_folder(&folder)?;
        Ok(Deb { name: name.clone(), version: version.clone(), sha256: got, path })
    }
}

impl Deb {
    /// Unpacks it into a folder.
    ///
    /// # Errors
    /// dpkg-deb fails.
    pub fn unpack(&self, folder: &Path) -> Result<(), ImageError> {
        files::make_folder(folder)?;
        files::run(Command::new("dpkg-deb").arg("-x").arg(&self.path).arg(folder))?;
        Ok(())
    }
}

/// An apt with lists of a few suites, which knows nothing of the machine's own.
struct Apt {
    folder: PathBuf,
    config: PathBuf,
    suites: String,
}

impl Apt {
    fn update(folder: &Path, suites: &[String]) -> Result<Self, ImageError> {
        files::make_folder(folder)?;
        let folder = folder.canonicalize().map_err(|source| files::at(folder, source))?;
        let folder = folder.join(suites.join("+"));
        files::make_folder(folder.join("lists/partial"))?;
        files::make_folder(folder.join("archives/partial"))?;
        files::write(folder.join("status"), "")?;
        files::write(folder.join("sources.list"), sources(&mirrors()?, suites)?)?;
        let config = folder.join("apt.conf");
        files::write(&config, configuration(&folder.display().to_string())?)?;
        let apt = Self { folder, config, suites: suites.join(", ") };
        files::run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }

    fn newest(&self, package: &Package) -> Result<Listed, ImageError> {
        let Package { follow, name, .. } = package;
        let gone = |name: &str| ImageError::PackageGone {
            name: name.to_owned(),
            suites: self.suites.clone(),
        };
        let Some(follow) = follow else {
            return self.show(name, None)?.ok_or_else(|| gone(name));
        };
        let newest = self.show(follow, None)?.ok_or_else(|| gone(follow))?;
        let name = newest.depends.split([' ', ',']).next().unwrap_or_default();
        self.show(name, None)?.ok_or_else(|| gone(name))
    }

    /// One version of a package, or the newest.
    fn show(&self, name: &str, version: Option<&str>) -> Result<Option<Listed>, ImageError> {
        let newest = match version {
            Some(version) => version.to_owned(),
            None => {
                let policy =
                    files::run_text(self.command("apt-cache").args(["policy", "--", name]))?;
                match field(&policy, "Candidate").filter(|version| *version != "(none)") {
                    Some(version) => version.to_owned(),
                    None => return Ok(None),
                }
            }
        };
        // It fails where there is no such package, and is silent where there is no such version.
        let wanted = format!("{name}={newest}");
        let shown = files::run_text(self.command("apt-cache").args(["show", "--", &wanted]));
        let shown = match shown {
            Ok(shown) => shown,
            Err(ImageError::Failed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (Some(version), Some(sha256)) = (field(&shown, "Version"), field(&shown, "SHA256"))
        else {
            return Ok(None);
        };
        Ok((version == newest).then(|| Listed {
            name: name.to_owned(),
            version: newest.clone(),
            sha256: sha256.to_owned(),
            depends: field(&shown, "Depends").unwrap_or_default().to_owned(),
        }))
    }
}

/// The first line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// The addresses of the archives that this machine's apt uses.
fn mirrors() -> Result<Vec<String>, ImageError> {
    let format = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let text = files::run_text(Command::new("apt-get").env("LC_ALL", "C").args(format))?;
    Ok(text.lines().map(|line| line.trim_end_matches('/').to_owned()).collect())
}

/// The lines of sources.list for these suites.
fn sources(mirrors: &[String], suites: &[String]) -> Result<String, ImageError> {
    let ending = |end: &str| mirrors.iter().find(|mirror| mirror.ends_with(end));
    let archive = ending("/debian").ok_or(ImageError::NoMirror)?;
    let security = ending("/debian-security");
    let mut text = String::new();
    for suite in suites {
        let mirror = match suite.ends_with("-security") {
            true => security,
            false => Some(archive),
        };
        // A machine without the security archive has the point releases still.
        if let Some(mirror) = mirror {
            text += &format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        }
    }
    Ok(text)
}

/// apt's configuration: everything private but how to reach the mirror.
fn configuration(folder: &str) -> Result<String, ImageError> {
    let host = files::run_text(Command::new("apt-config").args(["dump", "Acquire"]))?;
    let reach = |line: &&str| {
        ["Acquire::http::", "Acquire::https::", "Acquire::Retries"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let mut text: String = host.lines().filter(reach).flat_map(|line| [line, "\n"]).collect();
    for (key, value) in [
        ("Dir::Etc::main", "/dev/null"),
        ("Dir::Etc::parts", "/dev/null"),
        ("Dir::Etc::sourceparts", "/dev/null"),
        ("Dir::Etc::preferences", "/dev/null"),
        ("Dir::Etc::preferencesparts", "/dev/null"),
        ("Dir::Etc::sourcelist", &format!("{folder}/sources.list")),
        ("Dir::State", folder),
        ("Dir::State::status", &format!("{folder}/status")),
        ("Dir::Cache", folder),
        ("Dir::Cache::pkgcache", ""),
        ("Dir::Cache::srcpkgcache", ""),
        ("APT::Architecture", "amd64"),
        ("APT::Sandbox::User", "root"),
        ("Acquire::Languages", "none"),
        ("Acquire::GzipIndexes", "true"),
        // The pins say what is taken, not the index's date; a frozen mirror serves a build, too.
        ("Acquire::Check-Valid-Until", "false"),
    ] {
        text += &format!("{key} \"{value}\";\n");
    }
    text += "#clear APT::Architectures;\nAPT::Architectures { \"amd64\"; };\n";
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn suites_are_looked_for_at_the_machines_own_mirror() {
        let mirrors = texts(&["http://m/other", "http://m/debian", "http://s/debian-security"]);
        let lines = sources(&mirrors, &texts(&["trixie", "trixie-security"])).unwrap();
        assert_eq!(
            lines,
            format!(
                "deb [signed-by={KEYRING}] http://m/debian trixie main\n\
                 deb [signed-by={KEYRING}] http://s/debian-security trixie-security main\n"
            )
        );
        let without = sources(&texts(&["http://m/debian"]), &texts(&["a", "a-security"])).unwrap();
        assert_eq!(without.lines().count(), 1);
        let none = sources(&texts(&["http://m/ubuntu"]), &texts(&["a"]));
        assert!(matches!(none, Err(ImageError::NoMirror)), "{none:?}");
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text =
            "Package: a\nPre-Depends: x\nVersion: 1:2-3\n  Candidate: 4\nDepends: b (= 1), c\n";
        assert_eq!(field(text, "Version"), Some("1:2-3"));
        assert_eq!(field(text, "Candidate"), Some("4"));
        assert_eq!(field(text, "Depends"), Some("b (= 1), c"));
        assert_eq!(field(text, "SHA256"), None);
    }
}
