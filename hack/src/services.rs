//! How Annex's own services are started.

use std::path::Path;

use crate::domain_tls;
use crate::part::Part;
use crate::paths::Paths;
use crate::process::Launch;
use crate::settings::Settings;

/// What the controller has to know of a compute cluster with Knative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Knative {
    /// The image from which it runs the runner.
    pub(crate) runner_image: String,
    /// Where the registry answers.
    pub(crate) registry_listen: String,
    /// The same as pods reach it.
    pub(crate) registry_url: String,
    /// Where the ingress answers for the installs' domains; https where they have TLS.
    pub(crate) ingress_url: String,
    /// At which address of this machine pods reach the gateway.
    pub(crate) gateway_listen: String,
    /// The same as pods reach it, without a port.
    pub(crate) gateway_host: String,
    /// Where the ingress takes calls of Knative Services that have no address outside: `HOST:PORT`.
    pub(crate) internal_ingress: Option<String>,
}

/// How a service is started; `server` is kcp's address as tenants see it. Kcp and the ingress are not services.
pub(crate) fn launch(
    settings: &Settings,
    paths: &Paths,
    server: &str,
    knative: Option<&Knative>,
    part: Part,
    program: &Path,
) -> Launch {
    let mut args = Vec::new();
    let mut env = Vec::new();
    let mut inputs = Vec::new();
    let listen = |port: u16| format!("127.0.0.1:{port}");
    let mut arg = |name: &str, value: String| args.extend([name.to_owned(), value]);

    let local_registry = format!("http://127.0.0.1:{}", settings.registry_port());
    let (domain_scheme, domain_port) = settings.domain_scheme_and_port();
    match part {
        Part::Runner => arg("--listen", listen(domain_port)),
        Part::Registry | Part::Gateway => arg("--operations-listen", listen(settings.ops_port(part))),
        _ => arg("--listen", listen(settings.ops_port(part))),
    }
    if part != Part::Runner {
        arg("--kubeconfig", paths.service_kubeconfig(part).display().to_string());
        inputs.push(paths.service_kubeconfig(part));
    }
    if matches!(part, Part::Controller | Part::Initializer) {
        arg("--tenant-server", server.to_owned());
        if paths.kcp_ca().is_file() {
            arg("--tenant-ca-file", paths.kcp_ca().display().to_string());
            inputs.push(paths.kcp_ca());
        }
    }
    match part {
        Part::Kcp | Part::Ingress | Part::Initializer => {}
        Part::Runner => {
            arg("--internal-listen", listen(settings.runner_internal_port()));
            // What is a fault in production is a build on this machine.
            arg("--lookup-timeout-ms", "20000".to_owned());
            // No inputs either. The cache stays over restarts, so that what was verified once is not fetched again.
            arg("--trust-bundle", paths.trust_bundle().display().to_string());
            arg("--denylist", paths.denylist().display().to_string());
            arg("--registry-keys", paths.registry_keys().display().to_string());
            arg("--cache-dir", paths.runner_cache().display().to_string());
            arg("--code-cache-dir", paths.runner_code_cache().display().to_string());
            arg("--grant-keys-dir", paths.runner_grant_keys().display().to_string());
            arg("--storage-url", storage_url(paths));
            arg("--gateway-url", format!("http://127.0.0.1:{}", settings.gateway_port()));
            arg("--broker-url", format!("http://127.0.0.1:{}", settings.broker_port()));
            if settings.runner_has_tls() {
                // No inputs: it follows them while it runs.
                arg("--tls-cert-file", paths.domains_certificate().display().to_string());
                arg("--tls-key-file", paths.domains_key().display().to_string());
            }
            env.push(("REGISTRY_BASE_URL".to_owned(), local_registry));
            // No input: it follows it.
            env.push(("REGISTRY_TOKEN_FILE".to_owned(), paths.runner_tokens().display().to_string()));
        }
        Part::Gateway => {
            // Never over TLS here: pages call it through the runner, on their own domains.
            let listen = |port: u16| match knative {
                None => listen(port),
                Some(knative) => format!("{}:{port}", knative.gateway_listen),
            };
            arg("--listen", listen(settings.gateway_port()));
            arg("--broker-listen", listen(settings.broker_port()));
            // No input: it follows it.
            arg("--grant-keys", paths.grant_keys().display().to_string());
            match knative {
                None => arg("--runner-url", format!("http://127.0.0.1:{}", settings.runner_internal_port())),
                Some(knative) => {
                    // The pods keep nothing: what they store goes through the gateway.
                    arg("--storage-url", storage_url(paths));
                    if let Some(ingress) = &knative.internal_ingress {
                        arg("--exec-connect", ingress.clone());
                    }
                }
            }
        }
        Part::Registry => {
            // Of all these only the store is no input that is followed.
            arg(
                "--listen",
                match knative {
                    None => listen(settings.registry_port()),
                    Some(knative) => knative.registry_listen.clone(),
                },
            );
            arg("--bundle-store", paths.bundle_store().display().to_string());
            arg("--trust-bundle", paths.trust_bundle().display().to_string());
            arg("--denylist", paths.denylist().display().to_string());
            arg("--signing-key", paths.registry_key().display().to_string());
            arg("--keys", paths.registry_keys().display().to_string());
            arg("--runner-tokens", paths.runner_tokens().display().to_string());
            env.push(("ANNEX_LEASE_SECONDS".to_owned(), "9".to_owned()));
        }
        Part::Controller => {
            // Whoever kills it here does not want to wait for long until the next one leads.
            env.push(("ANNEX_LEASE_SECONDS".to_owned(), "9".to_owned()));
            match knative {
                None => {
                    arg("--runner-url", settings.runner_url());
                    arg(
                        "--runner-internal-url",
                        format!("http://127.0.0.1:{}", settings.runner_internal_port()),
                    );
                    env.push(("EXT_DOMAIN_SCHEME".to_owned(), domain_scheme.to_owned()));
                }
                Some(knative) => {
                    let kubeconfig = paths.compute_service_kubeconfig(part);
                    arg("--domain-mode", "knative".to_owned());
                    arg("--compute-kubeconfig", kubeconfig.display().to_string());
                    arg("--runner-image", knative.runner_image.clone());
                    arg("--runner-registry-url", knative.registry_url.clone());
                    arg("--runner-url", knative.ingress_url.clone());
                    if let Some(ingress) = &knative.internal_ingress {
                        arg("--runner-exec-connect", ingress.clone());
                    }
                    let gateway = |port: u16| format!("http://{}:{port}", knative.gateway_host);
                    arg("--runner-gateway-url", gateway(settings.gateway_port()));
                    arg("--runner-broker-url", gateway(settings.broker_port()));
                    arg("--broker-internal-url", gateway(settings.broker_port()));
                    inputs.push(kubeconfig);
                    // Nobody else makes claims on a development cluster.
                    env.push(("KNATIVE_AUTO_CREATE_CDC".to_owned(), "true".to_owned()));
                    // A pod that ends is given as long, and with it the namespace of whoever uninstalls. Nobody waits for half a minute here. But a
                    // first call waits until two pods have started, and a component is compiled.
                    env.push(("RUNNER_TIMEOUT_SECONDS".to_owned(), "10".to_owned()));
                    if settings.tls {
                        env.push(("EXT_DOMAIN_TLS_SECRET".to_owned(), domain_tls::SECRET.to_owned()));
                    }
                }
            }
            arg("--registry-url", knative.map_or(local_registry, |knative| knative.registry_url.clone()));
            arg("--trust-bundle", paths.trust_bundle().display().to_string());
            arg("--denylist", paths.denylist().display().to_string());
            arg("--registry-keys", paths.registry_keys().display().to_string());
            arg("--runner-tokens", paths.runner_tokens().display().to_string());
            // No input: it follows it.
            arg("--grant-keys", paths.grant_keys().display().to_string());
            if settings.tls {
                arg("--runner-ca-file", paths.domains_ca().display().to_string());
                inputs.push(paths.domains_ca());
            }
            // The sample extension has no publisher who could sign it. By the environment, so that a test can take it back.
            env.push(("ANNEX_ALLOW_UNSIGNED".to_owned(), "true".to_owned()));
            env.push(("EXT_DOMAIN_ROOT".to_owned(), settings.domain_root.clone()));
            env.push(("EXT_DOMAIN_PORT".to_owned(), domain_port.to_string()));
        }
    }
    Launch { program: program.to_path_buf(), args, env, inputs, network: None }
}

/// The file of extensions' storage as a URL, in which some characters of a path mean something else.
fn storage_url(paths: &Paths) -> String {
    let path = paths.storage().join("kv.db").display().to_string();
    format!("sqlite://{}", path.replace('%', "%25").replace('?', "%3F").replace('#', "%23"))
}

/// Adds `extra` to `args`; where both name an option, the extra one counts, because a service refuses it twice.
pub(crate) fn merge_args(args: Vec<String>, extra: &[String]) -> Vec<String> {
    let name = |arg: &str| arg.starts_with("--").then(|| arg.split('=').next().unwrap_or(arg).to_owned());
    let replaced: Vec<String> = extra.iter().filter_map(|arg| name(arg)).collect();
    let mut merged = Vec::new();
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let with_value = !arg.contains('=') && args.peek().is_some_and(|next| !next.starts_with("--"));
        let value = if name(&arg).is_some() && with_value { args.next() } else { None };
        if name(&arg).is_none_or(|name| !replaced.contains(&name)) {
            merged.push(arg);
            merged.extend(value);
        }
    }
    merged.extend_from_slice(extra);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ComputeMode;

    fn knative() -> Knative {
        Knative {
            runner_image: "dev.local/annex-runner:1".to_owned(),
            registry_listen: "10.89.0.1:8091".to_owned(),
            registry_url: "http://10.89.0.1:8091".to_owned(),
            ingress_url: "http://10.89.0.2:30080".to_owned(),
            gateway_listen: "10.89.0.1".to_owned(),
            gateway_host: "10.89.0.1".to_owned(),
            internal_ingress: Some("10.89.0.2:30081".to_owned()),
        }
    }

    fn strings(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn extra_arguments_win() {
        let merged = merge_args(strings("start --a=1 --b 2 --flag --c 3"), &strings("--b 9 --a=8 --new"));
        assert_eq!(merged, strings("start --flag --c 3 --b 9 --a=8 --new"));
        assert_eq!(merge_args(strings("--a 1"), &[]), strings("--a 1"));
    }

    #[test]
    fn the_runner_has_no_identity() {
        let settings = Settings::new(Path::new("/state"));
        let paths = Paths::new(&settings.state_dir);
        let runner = launch(&settings, &paths, "https://k", None, Part::Runner, Path::new("/bin/runner"));
        assert!(!runner.args.iter().any(|arg| arg.contains("kubeconfig")));
        let line = runner.args.join(" ");
        assert!(
            line.contains(
                "--trust-bundle /state/signing/trust.pem --denylist /state/signing/denylist \
                 --registry-keys /state/signing/registry-keys.json --cache-dir /state/runner-cache"
            ),
            "{line}"
        );
        assert_eq!(value(&runner, "REGISTRY_BASE_URL"), Some("http://127.0.0.1:8091"));
        assert_eq!(value(&runner, "REGISTRY_TOKEN_FILE"), Some("/state/signing/runner-tokens"));
        let controller =
            launch(&settings, &paths, "https://k", None, Part::Controller, Path::new("/bin/controller"));
        assert!(controller.args.join(" ").contains("--registry-url http://127.0.0.1:8091"));
        let registry =
            launch(&settings, &paths, "https://k", None, Part::Registry, Path::new("/bin/registry"));
        let line = registry.args.join(" ");
        assert!(
            line.contains(
                "--operations-listen 127.0.0.1:8095 --kubeconfig /state/services/registry.kubeconfig"
            ),
            "{line}"
        );
        assert!(line.contains("--listen 127.0.0.1:8091 --bundle-store /state/bundles"), "{line}");
    }

    #[test]
    fn the_gateway_knows_the_runner_of_this_machine_and_signs_for_it() {
        let settings = Settings { tls: true, ..Settings::new(Path::new("/state")) };
        let paths = Paths::new(&settings.state_dir);
        let gateway = launch(&settings, &paths, "https://k", None, Part::Gateway, Path::new("/bin/gateway"));
        let line = gateway.args.join(" ");
        for part in [
            "--operations-listen 127.0.0.1:8097 --kubeconfig /state/services/gateway.kubeconfig",
            "--listen 127.0.0.1:8096 --broker-listen 127.0.0.1:8098 --grant-keys /state/signing/grant-keys",
            "--runner-url http://127.0.0.1:8093",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn with_knative_the_controller_has_an_identity_there() {
        let settings = Settings::new(Path::new("/state"));
        let paths = Paths::new(&settings.state_dir);
        let knative = knative();
        let program = Path::new("/bin/controller");
        let launch = launch(&settings, &paths, "https://k", Some(&knative), Part::Controller, program);
        let line = launch.args.join(" ");
        assert!(
            line.contains("--compute-kubeconfig /state/services/controller.compute.kubeconfig"),
            "{line}"
        );
        assert!(line.contains("--runner-url http://10.89.0.2:30080"), "{line}");
        assert!(launch.inputs.contains(&paths.compute_service_kubeconfig(Part::Controller)));
        assert!(!line.contains("/state/compute.kubeconfig"), "{line}");
        assert!(!line.contains("--runner-ca-file"), "{line}");
        for part in [
            "--grant-keys /state/signing/grant-keys",
            "--runner-gateway-url http://10.89.0.1:8096 --runner-broker-url http://10.89.0.1:8098",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn with_knative_the_gateway_keeps_what_extensions_store_and_calls_through_the_ingress() {
        let settings = Settings::new(Path::new("/state"));
        let paths = Paths::new(&settings.state_dir);
        let program = Path::new("/bin/gateway");
        let gateway = launch(&settings, &paths, "https://k", Some(&knative()), Part::Gateway, program);
        let line = gateway.args.join(" ");
        for part in [
            "--listen 10.89.0.1:8096 --broker-listen 10.89.0.1:8098",
            "--storage-url sqlite:///state/storage/kv.db --exec-connect 10.89.0.2:30081",
        ] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("--runner-url"), "{line}");
    }

    #[test]
    fn a_folders_name_stays_itself_in_a_url() {
        let url = storage_url(&Paths::new(Path::new("/a%2f?b#c")));
        assert_eq!(url, "sqlite:///a%252f%3Fb%23c/storage/kv.db");
    }

    fn value<'a>(launch: &'a Launch, name: &str) -> Option<&'a str> {
        launch.env.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn with_tls_the_runner_serves_it_and_the_controller_checks_it() {
        let settings = Settings { tls: true, ..Settings::new(Path::new("/state")) };
        let paths = Paths::new(&settings.state_dir);
        let runner = launch(&settings, &paths, "https://k", None, Part::Runner, Path::new("/bin/runner"));
        let line = runner.args.join(" ");
        assert!(line.contains("--listen 127.0.0.1:8443"), "{line}");
        assert!(
            line.contains("--tls-cert-file /state/domains.crt --tls-key-file /state/domains.key"),
            "{line}"
        );
        let controller =
            launch(&settings, &paths, "https://k", None, Part::Controller, Path::new("/bin/controller"));
        let line = controller.args.join(" ");
        assert!(line.contains("--runner-url https://127.0.0.1:8443"), "{line}");
        assert!(line.contains("--runner-ca-file /state/domains-ca.crt"), "{line}");
        assert!(controller.inputs.contains(&paths.domains_ca()));
        assert_eq!(value(&controller, "EXT_DOMAIN_SCHEME"), Some("https"));
        assert_eq!(value(&controller, "EXT_DOMAIN_PORT"), Some("8443"));
        assert_eq!(value(&controller, "EXT_DOMAIN_TLS_SECRET"), None);
    }

    #[test]
    fn with_tls_and_knative_the_controller_knows_the_secret() {
        let settings =
            Settings { tls: true, compute: ComputeMode::Knative, ..Settings::new(Path::new("/state")) };
        let paths = Paths::new(&settings.state_dir);
        let knative = Knative { ingress_url: "https://10.89.0.2:30443".to_owned(), ..knative() };
        let program = Path::new("/bin/controller");
        let launch = launch(&settings, &paths, "https://k", Some(&knative), Part::Controller, program);
        assert!(launch.args.join(" ").contains("--runner-ca-file /state/domains-ca.crt"));
        assert_eq!(value(&launch, "EXT_DOMAIN_TLS_SECRET"), Some("annex-system/annex-domain-tls"));
        assert_eq!(value(&launch, "EXT_DOMAIN_PORT"), Some("8443"));
    }
}
