//! Who this party is, and whom it trusts, from files.

use super::IdentitySettings;
use crate::private_file::is_open_to_others;
use crate::random::NO_RANDOMNESS_REMEDY;
use crate::service::{Clients, ReadIdentity};
use heq_data::plan_files::read_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_net::tls::{ClientTls, Identity, ServerTls, TlsFileError, Trust};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Most bytes of a file of keys and certificates.
pub(crate) const MAX_PEM_BYTES: usize = 1 << 20;

/// How a client connects; none: without encryption, on this machine.
pub(crate) fn client(arguments: &IdentitySettings) -> Result<Option<ClientTls>, Diagnostic> {
    let Some(path) = identity_path(arguments)? else { return Ok(None) };
    let identity = read_identity(path)?;
    let keys = (!arguments.pin.is_empty()).then(|| arguments.pin.iter().copied().collect());
    let trust = Trust { authorities: authorities(&arguments.ca)?, keys };
    ClientTls::new(&identity, &trust, arguments.server_name.clone())
        .map(Some)
        .map_err(|error| wrong(path, &error))
}

/// How a server reads who it is and whom it admits.
pub(crate) fn server(
    arguments: &IdentitySettings,
    clients: Option<&Path>,
) -> Result<ReadIdentity, Diagnostic> {
    let path = identity_path(arguments)?.map(Path::to_path_buf);
    let (ca, clients) = (arguments.ca.clone(), clients.map(Path::to_path_buf));
    Ok(Box::new(move || {
        let Some(path) = &path else { return Ok(None) };
        let identity = read_identity(path)?;
        let list = clients.as_deref().map(Clients::read).transpose()?;
        let keys = list.as_ref().map(|list| list.keys().collect());
        let trust = Trust { authorities: authorities(&ca)?, keys };
        let tls = ServerTls::new(&identity, &trust).map_err(|error| wrong(path, &error))?;
        Ok(Some((tls, list)))
    }))
}

/// The file that says who this party is; none if nothing needs to.
fn identity_path(arguments: &IdentitySettings) -> Result<Option<&Path>, Diagnostic> {
    match (&arguments.identity, arguments.insecure_loopback) {
        (Some(path), _) => Ok(Some(path)),
        (None, true) => Ok(None),
        (None, false) => Err(Diagnostic::new(
            Code::BadOption,
            "command line",
            "nothing says who this side is, and whom it trusts",
            "give --identity FILE.pem (heq-run cert init makes one for the server, heq-run cert client NAME \
             for a client), or --insecure-loopback if both parties are on this machine",
        )),
    }
}

/// Reads a file that has a private key in it.
pub(crate) fn read_identity(path: &Path) -> Result<Identity, Diagnostic> {
    let pem = Zeroizing::new(read_file(path, MAX_PEM_BYTES)?);
    check_private(path)?;
    Identity::from_pem(&pem).map_err(|error| wrong(path, &error))
}

/// Refuses a private key that others may read.
pub(crate) fn check_private(path: &Path) -> Result<(), Diagnostic> {
    if !is_open_to_others(path).unwrap_or(true) {
        return Ok(());
    }
    Err(Diagnostic::new(
        Code::WrongIdentity,
        path.display().to_string(),
        "others than its owner may read or write the private key",
        "chmod 600 the file; if others may have read it, issue another",
    ))
}

fn authorities(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Diagnostic> {
    paths.iter().map(|path| read_file(path, MAX_PEM_BYTES)).collect()
}

pub(crate) fn wrong(path: &Path, error: &TlsFileError) -> Diagnostic {
    let (code, remedy) = if matches!(error, TlsFileError::NoRandomness) {
        (Code::SystemResources, NO_RANDOMNESS_REMEDY)
    } else {
        let remedy = "give a PEM file of a private key, its certificate and an authority's, as heq-run cert writes it";
        (Code::WrongIdentity, remedy)
    };
    Diagnostic::new(code, path.display().to_string(), error.to_string(), remedy)
}
