use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// An answer that kube cannot parse it logs whole: the content of a Secret, or megabytes that a tenant's server made up.
const SILENCED: &str = "kube_client::client=error";

/// Logs to standard error. `RUST_LOG` chooses what; the default is `info`. What kube's client says below `error` is never logged.
pub fn init_logging(format: LogFormat) {
    let filter = silenced(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")));
    // Colours only where a person looks on: in a file they are noise.
    let ansi = std::io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

fn silenced(chosen: EnvFilter) -> EnvFilter {
    match SILENCED.parse() {
        Ok(directive) => chosen.add_directive(directive),
        Err(_) => chosen,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn answers_that_kube_cannot_parse_are_not_logged() {
        for chosen in ["info", "trace", "kube_client=debug", "kube_client::client=trace"] {
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(silenced(EnvFilter::new(chosen)))
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(target: "kube_client::client", "s3cr3t");
                tracing::error!(target: "kube_client::client", "broken");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert!(text.contains("broken") && !text.contains("s3cr3t"), "{chosen}: {text}");
        }
    }
}
