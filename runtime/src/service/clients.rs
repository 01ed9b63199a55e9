//! The list of clients that a server admits.
//!
//! One a line: the key's pin, and behind it a name and `quota=N` as one likes. What follows a `#` is not read.

use heq_data::plan_files::read_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_net::tls::KeyPin;
use std::collections::BTreeMap;
use std::path::Path;

/// Most bytes of a list.
const MAX_BYTES: usize = 16 << 20;

/// Clients by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients(BTreeMap<KeyPin, Client>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Client {
    quota: Option<u64>,
}

impl Clients {
    /// Reads a list.
    ///
    /// # Errors
    /// [`Code::FileAccess`] if it cannot be read, [`Code::WrongIdentity`] with the lines that are wrong.
    pub fn read(path: &Path) -> Result<Self, Diagnostic> {
        let place = path.display().to_string();
        let bytes = read_file(path, MAX_BYTES)?;
        Self::parse(&String::from_utf8_lossy(&bytes)).map_err(|lines| {
            let remedy = "write one client a line, such as: sha256:HEX alice quota=100";
            Diagnostic::new(Code::WrongIdentity, place, lines.join("; "), remedy)
        })
    }

    fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut clients, mut wrong) = (BTreeMap::new(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("");
            let mut words = line.split_whitespace();
            let Some(pin) = words.next() else { continue };
            let mut complain = |what: String| wrong.push(format!("line {}: {what}", number + 1));
            let pin: KeyPin = match pin.parse() {
                Ok(pin) => pin,
                Err(error) => {
                    complain(format!("{error}"));
                    continue;
                }
            };
            let (mut client, mut name) = (Client::default(), None);
            for word in words {
                if let Some(value) = word.strip_prefix("quota=") {
                    match value.parse() {
                        Ok(quota) if client.quota.is_none() => client.quota = Some(quota),
                        Ok(_) => complain("there are two quotas".to_owned()),
                        Err(_) => complain(format!("{word} is no number of outputs")),
                    }
                } else if word.contains(['=', ':']) || name.replace(word).is_some() {
                    // What was meant as a limit must not be taken for a name.
                    complain(format!("{word} is neither the one name nor quota=N"));
                }
            }
            if clients.insert(pin, client).is_some() {
                complain(format!("{pin} is there twice"));
            }
        }
        if wrong.is_empty() { Ok(Self(clients)) } else { Err(wrong) }
    }

    /// The keys of all.
    pub fn keys(&self) -> impl Iterator<Item = KeyPin> + '_ {
        self.0.keys().copied()
    }

    /// Whether a client is on the list.
    #[must_use]
    pub fn contains(&self, pin: KeyPin) -> bool {
        self.0.contains_key(&pin)
    }

    /// The outputs a day of a client, if the list says.
    #[must_use]
    pub fn quota(&self, pin: KeyPin) -> Option<u64> {
        self.0.get(&pin)?.quota
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let [a, b] = [[1; 32], [2; 32]].map(KeyPin);
        let text = format!("# ours\n\n{a} alice quota=7 # note\n  {b}\n");
        let clients = Clients::parse(&text).unwrap();
        assert_eq!(clients.keys().collect::<Vec<_>>(), [a, b]);
        assert_eq!((clients.quota(a), clients.quota(b)), (Some(7), None));
        let wrong = format!("alice\n{a} quota=many\n{a}\n{b}");
        let wrong = Clients::parse(&wrong).unwrap_err();
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].starts_with("line 1:") && wrong[2].starts_with("line 3:"), "{wrong:?}");
        for rest in ["Quota=5", "quota: 5", "alice quota = 5", "quota=1 quota=2", "alice bob"] {
            assert!(Clients::parse(&format!("{a} {rest}")).is_err(), "{rest}");
        }
    }
}
