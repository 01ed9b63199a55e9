//! `heq-run cert`: a private authority for those who have none.

use super::args::{CertCommand, CertFolder};
use super::{Output, print};
use crate::private_file;
use crate::settings::identity::{MAX_PEM_BYTES, check_private, wrong};
use heq_data::plan_files::{cannot_write, read_file, write_file};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_net::tls::{Authority, Certificate};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

const AUTHORITY_NAME: &str = "heq private authority";
const AUTHORITY_DAYS: u32 = 3653;

/// Hosts of a server if none is given: for a trial on one machine.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

/// How long before its end a certificate is worth a warning.
pub(super) const RENEW_BEFORE: Duration = Duration::from_hours(30 * 24);

pub(super) fn run(command: &CertCommand, output: &mut Output<'_>) -> Result<(), Diagnostic> {
    match command {
        CertCommand::Init { folder: CertFolder { dir }, hosts, term } => {
            let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
            for path in [&certificate, &key, &dir.join("server.pem")] {
                // The key may be kept elsewhere: what it vouched for would be cut off.
                if path.exists() {
                    return Err(exists(path));
                }
            }
            let authority = Authority::create(AUTHORITY_NAME, AUTHORITY_DAYS)
                .map_err(|error| wrong(&certificate, &error))?;
            std::fs::create_dir_all(dir).map_err(|error| cannot_write(dir, &error))?;
            write_private(&key, authority.key())?;
            let others = || {
                write_file(&certificate, authority.certificate().as_bytes())?;
                server(&authority, dir, "server", &hosts.host, term.days)
            };
            let identity = others().inspect_err(|_| {
                // Half an authority would be in the way of a whole one.
                [&key, &certificate].map(std::fs::remove_file).into_iter().for_each(drop);
            })?;
            report(output, &certificate, "the authority's certificate: public");
            report(output, &key, "its private key: keep it off the server, and safe");
            identity.report(output);
            Ok(())
        }
        CertCommand::Server { name, folder: CertFolder { dir }, hosts, term } => {
            server(&read_authority(dir)?, dir, name, &hosts.host, term.days)?.report(output);
            Ok(())
        }
        CertCommand::Client { name, folder: CertFolder { dir }, term } => {
            let authority = read_authority(dir)?;
            let path = identity_path(dir, name)?;
            let pem = authority.client(name, term.days).map_err(|error| wrong(&path, &error))?;
            write_private(&path, &pem)?;
            report(output, &path, "the client's --identity: give it to the client alone");
            Ok(())
        }
        CertCommand::Show { file, json } => show(file, *json, output),
    }
}

/// A server's file, and the hosts that it is for.
struct ServerFile {
    path: PathBuf,
    hosts: Vec<String>,
}

impl ServerFile {
    fn report(&self, output: &mut Output<'_>) {
        let what = format!("the server's --identity, for {}", self.hosts.join(", "));
        report(output, &self.path, &what);
    }
}

fn server(
    authority: &Authority,
    dir: &Path,
    name: &str,
    hosts: &[String],
    days: u32,
) -> Result<ServerFile, Diagnostic> {
    let path = identity_path(dir, name)?;
    let hosts = if hosts.is_empty() { LOCAL.map(str::to_owned).to_vec() } else { hosts.to_vec() };
    let pem = authority.server(name, hosts.clone(), days).map_err(|error| wrong(&path, &error))?;
    let is_server = |pem: Vec<u8>| {
        let all = Certificate::all_from_pem(&pem);
        all.is_ok_and(|all| all.first().is_some_and(|first| !first.hosts.is_empty()))
    };
    if path.exists() && read_file(&path, MAX_PEM_BYTES).is_ok_and(is_server) {
        // A server's certificate is renewed in its place; under the name there is one at any time.
        let partial = path.with_extension("pem.partial");
        let _none = std::fs::remove_file(&partial);
        write_private(&partial, &pem)?;
        std::fs::rename(&partial, &path).map_err(|error| cannot_write(&path, &error))?;
    } else {
        write_private(&path, &pem)?;
    }
    Ok(ServerFile { path, hosts })
}

/// The file of a name, which must be one part of a path.
fn identity_path(dir: &Path, name: &str) -> Result<PathBuf, Diagnostic> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.starts_with('.') || name == "ca" || !name.chars().all(is_plain) {
        let remedy = "use letters, digits and -_.@, and not the name ca";
        return Err(Diagnostic::new(Code::BadOption, name, "cannot be the name of a file", remedy));
    }
    Ok(dir.join(format!("{name}.pem")))
}

fn read_authority(dir: &Path) -> Result<Authority, Diagnostic> {
    let certificate = dir.join("ca.pem");
    let text = |path: &Path| {
        let bytes = Zeroizing::new(read_file(path, MAX_PEM_BYTES)?);
        String::from_utf8(bytes.to_vec()).map_err(|_| {
            let remedy = "give --dir and the folder that heq-run cert init made";
            Diagnostic::new(Code::WrongIdentity, path.display().to_string(), "is no PEM", remedy)
        })
    };
    let key = dir.join("ca.key");
    let authority = Authority::from_pem(text(&certificate)?, Zeroizing::new(text(&key)?));
    check_private(&key)?;
    Ok(authority)
}

/// Writes a file that its owner alone may read, and that is not there yet; nothing is left of it if that fails.
fn write_private(path: &Path, text: &str) -> Result<(), Diagnostic> {
    let mut options = private_file::options();
    let mut file = options.write(true).create_new(true).open(path).map_err(|error| {
        let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
        if is_there { exists(path) } else { cannot_write(path, &error) }
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = std::fs::remove_file(path);
        cannot_write(path, &error)
    })
}

fn exists(path: &Path) -> Diagnostic {
    Diagnostic::new(
        Code::FileAccess,
        path.display().to_string(),
        "is there already, and is not overwritten",
        "give another name or --dir, or remove it if nobody needs it any more",
    )
}

fn report(output: &mut Output<'_>, path: &Path, what: &str) {
    // What was written is there, whoever hears of it.
    let _ = writeln!(output.out, "{}: {what}", path.display());
}

fn show(file: &Path, is_json: bool, output: &mut Output<'_>) -> Result<(), Diagnostic> {
    let pem = Zeroizing::new(read_file(file, MAX_PEM_BYTES)?);
    let all = Certificate::all_from_pem(&pem).map_err(|error| wrong(file, &error))?;
    if is_json {
        let certificates: Vec<_> = all.iter().map(to_json).collect();
        let document =
            serde_json::json!({ "schema": "heq-certificates/1", "certificates": certificates });
        return print(output, &format!("{document:#}\n"));
    }
    let text: String = all.iter().map(|certificate| describe(certificate) + "\n").collect();
    print(output, &text)
}

pub(super) fn to_json(certificate: &Certificate) -> serde_json::Value {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    serde_json::json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "hosts": certificate.hosts,
        "pin": certificate.pin.to_string(),
        "not_before": seconds(certificate.not_before),
        "not_after": seconds(certificate.not_after),
        "is_authority": certificate.is_authority,
        "is_valid_now": certificate.is_valid_at(SystemTime::now()),
    })
}

pub(super) fn describe(certificate: &Certificate) -> String {
    let kind = if certificate.is_authority { "authority" } else { "certificate" };
    let hosts = match certificate.hosts.as_slice() {
        [] => String::new(),
        hosts => format!("\n  hosts   {}", hosts.join(", ")),
    };
    format!(
        "{kind} {}\n  issuer  {}{hosts}\n  pin     {}\n  valid   {}",
        certificate.subject,
        certificate.issuer,
        certificate.pin,
        validity(certificate),
    )
}

/// How long a certificate is valid.
fn validity(certificate: &Certificate) -> String {
    let now = SystemTime::now();
    let days = |duration: Duration| duration.as_secs() / 86_400;
    match certificate.not_after.duration_since(now) {
        _ if now < certificate.not_before => "not yet".to_owned(),
        Err(since) => format!("no more, since {} days", days(since.duration())),
        Ok(left) if left < RENEW_BEFORE => format!("{} days more: renew it", days(left)),
        Ok(left) => format!("{} days more", days(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        let dir = Path::new("pki");
        assert_eq!(
            identity_path(dir, "alice@example.org").unwrap(),
            dir.join("alice@example.org.pem")
        );
        for name in ["", "..", "../up", "a/b", "ca", ".hidden", "a b", "naïve"] {
            assert_eq!(identity_path(dir, name).unwrap_err().code, Code::BadOption, "{name}");
        }
    }
}
