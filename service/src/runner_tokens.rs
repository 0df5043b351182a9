//! By what the registry knows a runner.
//!
//! A runner has no identity in kcp: whoever takes one over must not have gained one. It has a secret that is good for the registry alone.
//! The operator makes one secret for all of it; what a single workspace's runner is given is derived from that, so that a runner on a
//! tenant's own cluster can ask about its own tenant only.

use std::fmt::{self, Write as _};

use ring::hmac;

/// A secret shorter than this could be guessed.
const SHORTEST: usize = 32;
/// More than a rotation ever needs.
const MOST: usize = 8;
/// The largest token that is looked at: a secret's longest line, or a workspace's name and 64 digits.
const LONGEST: usize = 512;
const OF_WORKSPACE: &str = "ws.";

/// For whom a runner's token is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerScope {
    /// Every workspace: the token is a secret itself.
    Everything,
    /// The workspace whose logical cluster has this name.
    Workspace(String),
}

/// The secrets of a file, one a line. The first is the one that tokens are derived from; all of them are accepted, so that a secret is
/// replaced by putting the next before it, and taking it out once no runner uses it any more.
#[derive(Default)]
pub struct RunnerTokens(Vec<Secret>);

struct Secret {
    key: hmac::Key,
    /// Of the secret itself: comparing MACs takes the same time whatever is compared.
    whole: hmac::Tag,
}

const WHOLE: &[u8] = b"annex runner of everything ";

impl RunnerTokens {
    /// Reads a file: a secret a line, 32 to 512 visible ASCII characters; `#` begins a comment. No error quotes what is in it.
    ///
    /// # Errors
    /// A line is no secret, or there are none or too many.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let secrets: Vec<Secret> = lines(bytes)?.into_iter().map(Secret::of).collect();
        match secrets.len() {
            0 => Err("there is no token in it".to_owned()),
            count if count > MOST => Err(format!("there are more than {MOST} tokens in it")),
            _ => Ok(Self(secrets)),
        }
    }

    /// For whom a token is good. None: for nobody.
    #[must_use]
    pub fn scope(&self, token: &str) -> Option<RunnerScope> {
        if token.len() > LONGEST {
            return None;
        }
        let derived = token.strip_prefix(OF_WORKSPACE).and_then(|rest| rest.rsplit_once('.'));
        if let Some((workspace, mac)) = derived {
            let mac = bytes_of(mac)?;
            let good = |secret: &Secret| hmac::verify(&secret.key, &message(workspace), &mac).is_ok();
            return self.0.iter().any(good).then(|| RunnerScope::Workspace(workspace.to_owned()));
        }
        let good = |secret: &Secret| {
            hmac::verify(&secret.key, &[WHOLE, token.as_bytes()].concat(), secret.whole.as_ref()).is_ok()
        };
        self.0.iter().any(good).then_some(RunnerScope::Everything)
    }

    /// The token of one workspace's runner, by the name of its logical cluster. None where there is no secret.
    #[must_use]
    pub fn of_workspace(&self, workspace: &str) -> Option<String> {
        let secret = self.0.first()?;
        let mac = hmac::sign(&secret.key, &message(workspace));
        Some(mac.as_ref().iter().fold(format!("{OF_WORKSPACE}{workspace}."), |mut token, byte| {
            // Writing to a String cannot fail.
            let _ = write!(token, "{byte:02x}");
            token
        }))
    }
}

/// What a runner sends that was given a file: its first line that is a token.
///
/// # Errors
/// There is none.
pub fn runner_token(bytes: &[u8]) -> Result<String, String> {
    let first = lines(bytes)?.into_iter().next().map(str::to_owned);
    first.ok_or_else(|| "there is no token in it".to_owned())
}

impl Secret {
    fn of(line: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes());
        let whole = hmac::sign(&key, &[WHOLE, line.as_bytes()].concat());
        Self { key, whole }
    }
}

fn lines(bytes: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !(SHORTEST..=LONGEST).contains(&line.len()) || !line.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!(
                "line {} is no token of {SHORTEST} to {LONGEST} visible characters",
                number + 1
            ));
        }
        lines.push(line);
    }
    Ok(lines)
}

fn message(workspace: &str) -> Vec<u8> {
    [b"annex runner of ".as_slice(), workspace.as_bytes()].concat()
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

// By hand: no log may show a secret.
impl fmt::Debug for RunnerTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("RunnerTokens").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old-0123456789abcdef0123456789abcdef";
    const NEW: &str = "new-0123456789abcdef0123456789abcdef";

    fn tokens(text: &str) -> RunnerTokens {
        RunnerTokens::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_secret_is_good_for_everything_and_what_is_derived_for_its_workspace() {
        let tokens = tokens(OLD);
        assert_eq!(tokens.scope(OLD), Some(RunnerScope::Everything));
        let acme = tokens.of_workspace("acme").unwrap();
        assert_eq!(tokens.scope(&acme), Some(RunnerScope::Workspace("acme".to_owned())));
        let other = acme.replace("acme", "globex");
        let flipped = format!("{}{}", &acme[..acme.len() - 1], if acme.ends_with('0') { '1' } else { '0' });
        for bad in
            ["", "ws.", "ws.acme.", "ws.acme.00", NEW, &OLD[..35], &other, &flipped, &acme.to_uppercase()]
        {
            assert_eq!(tokens.scope(bad), None, "{bad}");
        }
        assert_eq!(tokens.scope(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn a_secret_is_replaced_by_the_one_before_it() {
        let (old, both, new) = (tokens(OLD), tokens(&format!("# next\n{NEW}\n\n{OLD}\n")), tokens(NEW));
        let (former, next) = (old.of_workspace("acme").unwrap(), both.of_workspace("acme").unwrap());
        assert!(both.scope(&former).is_some() && both.scope(&next).is_some() && both.scope(OLD).is_some());
        assert!(new.scope(&former).is_none() && new.scope(&next).is_some());
        assert_eq!(runner_token(format!("# next\n{NEW}\n{OLD}").as_bytes()).unwrap(), NEW);
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_quoted() {
        for bad in ["", "# none", "short", "has a space 0123456789abcdef0123456789abcdef", &"é".repeat(32)] {
            let error = RunnerTokens::parse(bad.as_bytes()).unwrap_err();
            assert!(bad.len() < 3 || !error.contains(bad), "{error}");
        }
        assert!(!format!("{:?}", tokens(OLD)).contains("0123"));
    }
}
