use std::path::PathBuf;

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// PEM certificates, the listener's own first.
    pub cert: PathBuf,
    /// The PEM private key of the first certificate.
    pub key: PathBuf,
}

/// TLS of the listener that others work with: the runner's public one, the controller's lookup.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TlsArgs {
    /// Serves https there, with these PEM certificates, the own one first. Absent: http. Read again when it changes.
    #[arg(long, env = "ANNEX_TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// The PEM private key of that certificate.
    #[arg(long, env = "ANNEX_TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
}

/// TLS of the operator's listener.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct OperationsTlsArgs {
    /// Serves /healthz, /readyz and /metrics over https, with these PEM certificates. Absent: http. Read again when it changes.
    #[arg(
        long,
        env = "ANNEX_OPERATIONS_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "operations_tls_key_file"
    )]
    operations_tls_cert_file: Option<PathBuf>,
    /// The PEM private key of that certificate.
    #[arg(
        long,
        env = "ANNEX_OPERATIONS_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "operations_tls_cert_file"
    )]
    operations_tls_key_file: Option<PathBuf>,
}

impl TlsArgs {
    /// The files; none means http.
    #[must_use]
    pub fn files(&self) -> Option<KeyPairFiles> {
        both(self.tls_cert_file.as_ref(), self.tls_key_file.as_ref())
    }
}

impl OperationsTlsArgs {
    /// The files; none means http.
    #[must_use]
    pub fn files(&self) -> Option<KeyPairFiles> {
        both(self.operations_tls_cert_file.as_ref(), self.operations_tls_key_file.as_ref())
    }
}

/// One without the other does not get here: the command line asks for both or none.
fn both(cert: Option<&PathBuf>, key: Option<&PathBuf>) -> Option<KeyPairFiles> {
    Some(KeyPairFiles { cert: cert?.clone(), key: key?.clone() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Both {
        #[command(flatten)]
        main: TlsArgs,
        #[command(flatten)]
        operations: OperationsTlsArgs,
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let parse = |args: &[&str]| Both::try_parse_from([&["x"], args].concat());
        let none = parse(&[]).ok().unwrap();
        assert_eq!((none.main.files(), none.operations.files()), (None, None));
        for alone in ["--tls-cert-file", "--tls-key-file", "--operations-tls-cert-file"] {
            assert!(parse(&[alone, "f"]).is_err(), "{alone}");
        }
        let main = parse(&["--tls-cert-file", "c", "--tls-key-file", "k"]).ok().unwrap();
        assert_eq!(main.main.files(), Some(KeyPairFiles { cert: "c".into(), key: "k".into() }));
        assert_eq!(main.operations.files(), None, "each listener is switched by itself");
    }
}
