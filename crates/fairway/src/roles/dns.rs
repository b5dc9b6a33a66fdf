//! The DNS server: the cluster's names from its objects, all others as its Corefile says.

mod corefile;
mod names;
mod pages;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use dns::io::Server;
use dns::{Config, Defaults, Unsupported, Zones};
use kubeapi::report_refused_config;
use model::NamespacedName;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::corefile::Corefile;
use self::names::Names;
use self::pages::PageSet;
use super::api_args::ApiArgs;

/// How long a changed Corefile goes unnoticed at most, whatever longer time its `reload` gives: looking is cheap.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// How long a server that cannot start waits for its Event to be written.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Options of the DNS server. All else stands in the Corefile.
#[derive(Debug, clap::Args)]
pub struct DnsArgs {
    /// Corefile. Without it /etc/coredns/Corefile if there is one, else what kubeadm would write for --zone.
    #[arg(long, value_name = "FILE", env = "FAIRWAY_DNS_CONF")]
    conf: Option<PathBuf>,
    /// Cluster domain, where there is no Corefile.
    #[arg(long, value_name = "DOMAIN", env = "FAIRWAY_DNS_ZONE", default_value = "cluster.local")]
    zone: String,
    /// Port of server blocks that name none.
    #[arg(long, value_name = "PORT", env = "FAIRWAY_DNS_PORT", default_value_t = 53)]
    port: u16,
    /// What to do about directives that CoreDNS has and Fairway has not.
    #[arg(long, value_name = "WHAT", env = "FAIRWAY_DNS_UNSUPPORTED", default_value = "refuse")]
    unsupported: UnsupportedArg,
    /// Service in front of the DNS servers, as NAMESPACE/NAME; it is the zone's name server.
    #[arg(long, value_name = "SERVICE", env = "FAIRWAY_DNS_SERVICE", default_value = "kube-system/kube-dns")]
    dns_service: String,
    /// ConfigMap that the Corefile comes from, as NAMESPACE/NAME: told in an Event when it cannot be used.
    #[arg(long, value_name = "CONFIGMAP", env = "FAIRWAY_DNS_CONFIG_MAP")]
    config_map: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UnsupportedArg {
    Refuse,
    Ignore,
}

/// Runs the DNS server until cancelled.
pub async fn run(args: DnsArgs, cancel: CancellationToken) -> Result<()> {
    let role = Role::new(args)?;
    let config = match role.corefile.load().await {
        Ok(config) => config,
        Err(error) => {
            // The pod ends with the reason; who looks at the ConfigMap shall find it too.
            let _ = timeout(LAST_WORDS, role.report(&error)).await;
            return Err(error);
        }
    };
    let (zones, end) = (Zones::default(), CancellationToken::new());
    let server = Server::new(zones.clone());
    let pages = PageSet::new(zones.clone(), server.metrics(), cancel.clone());
    let names = Names::new(zones, role.api.access(), end.clone());
    let mut running = Running { role, server: server.clone(), pages, names, config: None };
    running.apply(config).await?;
    tokio::join!(server.run(end.clone()), running.follow(&cancel, &end),);
    Ok(())
}

/// What stays as it was given.
struct Role {
    corefile: Corefile,
    config_map: Option<NamespacedName>,
    api: ApiArgs,
}

impl Role {
    fn new(args: DnsArgs) -> Result<Self> {
        let unsupported = match args.unsupported {
            UnsupportedArg::Refuse => Unsupported::Refuse,
            UnsupportedArg::Ignore => Unsupported::Ignore,
        };
        let dns_service = parse_name(&args.dns_service).context("--dns-service")?;
        let config_map = args.config_map.as_deref().map(parse_name).transpose().context("--config-map")?;
        let defaults = Defaults { dns_service, port: args.port, unsupported };
        Ok(Self { corefile: Corefile::new(args.conf, &args.zone, defaults), config_map, api: args.api })
    }

    /// Writes an Event on the ConfigMap about a Corefile that cannot be used.
    async fn report(&self, refusal: &anyhow::Error) {
        let Some(config_map) = &self.config_map else { return };
        let reported = async {
            let client = self.api.access().connect().await?;
            let refused = ("data.Corefile", &*format!("{refusal:#}"));
            report_refused_config(&client, config_map, refused, "fairway-dns").await?;
            anyhow::Ok(())
        };
        if let Err(error) = reported.await {
            warn!(%config_map, error = format!("{error:#}"), "cannot tell on the ConfigMap");
        }
    }
}

fn parse_name(text: &str) -> Result<NamespacedName> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(NamespacedName::new(namespace, name))
        }
        _ => bail!("{text:?} is not of the form NAMESPACE/NAME, such as kube-system/kube-dns"),
    }
}

/// The server at work, and the configuration it works by.
struct Running {
    role: Role,
    server: Server,
    pages: PageSet,
    names: Names,
    config: Option<Config>,
}

impl Running {
    /// Follows the Corefile until `cancel`; ends the server when its clients have learned of it.
    async fn follow(mut self, cancel: &CancellationToken, end: &CancellationToken) {
        cancel.run_until_cancelled(self.follow_corefile()).await;
        cancel.cancelled().await;
        let lameduck = self.config.as_ref().map_or(Duration::ZERO, Config::lameduck);
        info!(?lameduck, "told to end: answering a little longer");
        sleep(lameduck).await;
        end.cancel();
        self.names.stop().await;
        self.pages.stop().await;
    }

    async fn follow_corefile(&mut self) {
        let mut told = String::new();
        while let Some(interval) = self.config.as_ref().and_then(|config| config.reload) {
            sleep(interval.min(LONGEST_LOOK)).await;
            let outcome = match self.role.corefile.load().await {
                Ok(config) if self.config.as_ref() == Some(&config) => Ok(()),
                Ok(config) => self.apply(config).await,
                Err(error) => Err(error),
            };
            let Err(error) = outcome else {
                told.clear();
                continue;
            };
            let refusal = format!("{error:#}");
            if told != refusal {
                error!(error = refusal, "the Corefile cannot be used; going on with the one before");
                self.server.metrics().count_failed_reload();
                self.role.report(&error).await;
                told = refusal;
            }
        }
    }

    /// Works by `config` from now on; when it cannot, everything stays as it was.
    async fn apply(&mut self, config: Config) -> Result<()> {
        let pages = self.pages.open(&config)?;
        let names = self.names.prepare(&config).await?;
        self.server.apply(&config)?;
        self.pages.replace(&config, pages).await;
        self.names.replace(names);
        for ignored in &config.ignored {
            warn!(%ignored, "going without what the Corefile says");
        }
        info!(reload = self.config.is_some(), "working by the Corefile");
        self.config = Some(config);
        Ok(())
    }
}
