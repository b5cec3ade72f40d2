//! `anabranch init`: a cluster's CA, and certificates under it.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anabranch::pki::{CertificateAuthority, PkiError, Validity};

use crate::limits;

/// Options of `anabranch init`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The directory for the files, such as `pki`
    directory: PathBuf,
    /// Issue a certificate to the node of this name, under the CA that is in the directory already
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// How long a node's certificate is valid, in days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3_650), requires = "node")]
    days: u32,
}

#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("{} is there already, and nothing is ever overwritten: {}", path.display(), advice)]
    Exists { path: PathBuf, advice: &'static str },
    #[error(
        "there is no CA in {0}: make one with `anabranch init {0}`, or give the directory that it is in",
        directory.display()
    )]
    NoCa { directory: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut out = io::stdout().lock();
    let result = match &*args.node {
        [] => new_authority(&args.directory, &mut out),
        names => names
            .iter()
            .try_for_each(|name| new_node(&args.directory, name, args.days, &mut out)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "anabranch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn new_authority(directory: &Path, out: &mut impl io::Write) -> Result<(), InitError> {
    let (cert, key) = (directory.join("ca.pem"), directory.join("ca.key"));
    let advice = "add --node NAME to issue a certificate under it, or choose another directory";
    absent(&[&cert, &key], advice)?;
    std::fs::create_dir_all(directory).map_err(|source| InitError::File {
        doing: "make the directory",
        path: directory.to_owned(),
        source,
    })?;
    let pem = CertificateAuthority::generate("anabranch")?.to_pem();
    write_pair(&cert, &pem.cert_pem, &key, &pem.key_pem)?;
    let directory = directory.display();
    let _ = writeln!(
        out,
        "wrote {}: the cluster's certificate, for every node\n\
         wrote {}: its private key. Whoever has it can join the cluster: keep it off the nodes\n\
         next:  anabranch init {directory} --node NAME    for each node",
        cert.display(),
        key.display(),
    );
    Ok(())
}

fn new_node(
    directory: &Path,
    name: &str,
    days: u32,
    out: &mut impl io::Write,
) -> Result<(), InitError> {
    let (ca_cert, ca_key) = (directory.join("ca.pem"), directory.join("ca.key"));
    if !ca_cert.exists() && !ca_key.exists() {
        return Err(InitError::NoCa {
            directory: directory.to_owned(),
        });
    }
    let authority = CertificateAuthority::from_pem(&read(&ca_cert)?, &read(&ca_key)?)?;
    // Issued first: that is where a bad name is refused, before it becomes a path.
    let issued = authority.issue(name, Validity::days(days))?;
    let cert = directory.join(format!("{name}.pem"));
    let key = directory.join(format!("{name}.key"));
    let advice = "move the old pair away first to renew it, or choose another name";
    absent(&[&cert, &key], advice)?;
    write_pair(&cert, &issued.cert_pem, &key, &issued.key_pem)?;
    let _ = writeln!(
        out,
        "wrote {cert}: the certificate of {name}, valid for {days} days\n\
         wrote {key}: its private key\n\
         next:  copy {ca}, {cert} and {key} to the node, and put into its configuration\n\
         [tls]\nca = \"ca.pem\"\ncert = \"{name}.pem\"\nkey = \"{name}.key\"",
        ca = ca_cert.display(),
        cert = cert.display(),
        key = key.display(),
    );
    Ok(())
}

fn absent(paths: &[&Path], advice: &'static str) -> Result<(), InitError> {
    // A link that leads nowhere is something, too.
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(InitError::Exists {
            path: path.to_path_buf(),
            advice,
        }),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, InitError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| {
            file.take(limits::SETTINGS_FILE_BYTES_MAX)
                .read_to_string(&mut text)
        })
        .map_err(|source| InitError::File {
            doing: "read",
            path: path.to_owned(),
            source,
        })?;
    Ok(text)
}

/// Both files or none.
fn write_pair(cert: &Path, cert_pem: &str, key: &Path, key_pem: &str) -> Result<(), InitError> {
    const KEY_MODE: u32 = 0o600;
    const CERT_MODE: u32 = 0o644;
    write(key, key_pem, KEY_MODE)?;
    write(cert, cert_pem, CERT_MODE).inspect_err(|_| {
        let _ = std::fs::remove_file(key);
    })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), InitError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| InitError::File {
        doing: "write",
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn written(result: impl FnOnce(&mut Vec<u8>) -> Result<(), InitError>) -> String {
        let mut out = Vec::new();
        result(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_ca_and_a_node_under_it() {
        let root = tempfile::tempdir().unwrap();
        let pki = root.path().join("pki");
        assert!(written(|out| new_authority(&pki, out)).contains("ca.key"));
        assert!(written(|out| new_node(&pki, "eu-1", 30, out)).contains("key = \"eu-1.key\""));
        for (file, mode) in [("ca.key", 0o600), ("eu-1.key", 0o600)] {
            let found = pki.join(file).metadata().unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{file}");
        }
        let certificates = ["ca.pem", "eu-1.pem"].map(|file| pki.join(file));
        assert!(certificates.iter().all(|file| file.exists()));
    }

    #[test]
    fn nothing_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let pki = root.path();
        written(|out| new_authority(pki, out));
        written(|out| new_node(pki, "eu-1", 30, out));
        let before = std::fs::read(pki.join("ca.key")).unwrap();
        let again = new_authority(pki, &mut io::sink()).unwrap_err();
        assert!(matches!(again, InitError::Exists { .. }), "{again}");
        let again = new_node(pki, "eu-1", 30, &mut io::sink()).unwrap_err();
        assert!(matches!(again, InitError::Exists { .. }), "{again}");
        assert_eq!(std::fs::read(pki.join("ca.key")).unwrap(), before);
    }

    #[test]
    fn what_can_not_be_is_told() {
        let root = tempfile::tempdir().unwrap();
        let no_ca = new_node(root.path(), "eu-1", 30, &mut io::sink()).unwrap_err();
        assert!(matches!(no_ca, InitError::NoCa { .. }), "{no_ca}");
        written(|out| new_authority(root.path(), out));
        let name = new_node(root.path(), "../eu", 30, &mut io::sink()).unwrap_err();
        assert!(
            matches!(name, InitError::Pki(PkiError::Name { .. })),
            "{name}"
        );
    }
}
