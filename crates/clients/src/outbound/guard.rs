//! Where a tenant may make us go: a URL is checked when it is entered, and its host again at every connection.
//!
//! A name is judged by all the addresses it has at that moment, and the connection goes to these addresses and to no
//! other: what a name is said to be later does not matter.

use super::address::special;
use futures_util::future::BoxFuture;
use std::{
    collections::HashSet,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;
use url::{Host, Url};

/// How long a look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a URL is not used. The text is for the person who entered it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a URL that requests are sent to.
    #[error("{0}")]
    Url(&'static str),
    /// The host is, or has, an address that is nobody's server on the internet. Says neither which nor what it is: that
    /// would tell the names of our network to strangers.
    #[error("leads to a private or reserved address, which is not allowed")]
    Address,
    /// The name has no address.
    #[error("the host name cannot be resolved")]
    Dns,
}

type Lookup = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

/// Decides which hosts may be reached.
#[derive(Clone)]
pub struct Guard {
    /// `host` or `host:port`, in lower case, without the dot at the end.
    exempt: Arc<HashSet<String>>,
    lookup: Arc<Lookup>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("exempt", &self.exempt).finish_non_exhaustive()
    }
}

impl Guard {
    /// With hosts that are let through whatever their addresses are: `host` or `host:port`, IPv6 addresses in brackets; a
    /// whole URL is taken as its host (and its port, if it names one).
    pub fn new<I: AsRef<str>>(exempt: impl IntoIterator<Item = I>) -> Self {
        let lookup = |host: String| -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|a| a.ip()).collect()) })
        };
        let exempt = exempt.into_iter().filter_map(|item| exemption(item.as_ref())).collect();
        Self { exempt: Arc::new(exempt), lookup: Arc::new(lookup) }
    }

    /// The same with another way to look names up.
    #[must_use]
    pub fn with_lookup(
        self,
        lookup: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self { lookup: Arc::new(lookup), ..self }
    }

    /// Whether requests may be sent to this URL as things are now.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self, url: &Url) -> Result<(), Refusal> {
        self.check_form(url)?;
        match url.host() {
            Some(Host::Domain(name)) if !self.is_exempt(url) => self.resolve(name).await.map(drop),
            _ => Ok(()),
        }
    }

    /// What can be said without asking for the host's addresses. The URL parser has already read the odd spellings of IPv4
    /// addresses (`0x7f.1`, `2130706433`).
    ///
    /// # Errors
    /// Why not.
    pub fn check_form(&self, url: &Url) -> Result<(), Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Url("must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Url("must not contain a user name or password"));
        }
        if url.port() == Some(0) {
            return Err(Refusal::Url("must not name port 0"));
        }
        let address: IpAddr = match url.host() {
            None => return Err(Refusal::Url("must contain a host")),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(a)) => a.into(),
            Some(Host::Ipv6(a)) => a.into(),
        };
        if special(address).is_some() && !self.is_exempt(url) { Err(Refusal::Address) } else { Ok(()) }
    }

    /// Whether the operator has let this host, or this host and port, through.
    #[must_use]
    pub fn is_exempt(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().map(plain) else { return false };
        let port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
        self.exempt.contains(&host) || port.is_some_and(|both| self.exempt.contains(&both))
    }

    /// The addresses of a name, all of them good.
    ///
    /// # Errors
    /// [`Refusal::Dns`] when it has none, [`Refusal::Address`] when one of them is special.
    pub async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, Refusal> {
        let found = timeout(LOOKUP_TIMEOUT, (self.lookup)(name.to_owned())).await;
        let found = found.ok().and_then(Result::ok).filter(|all| !all.is_empty()).ok_or(Refusal::Dns)?;
        if found.iter().any(|address| special(*address).is_some()) {
            return Err(Refusal::Address);
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// `host` or `host:port` of an item of the list; the host as the URL parser writes it.
fn exemption(item: &str) -> Option<String> {
    let item = item.trim();
    let text = if item.contains("://") { item.to_owned() } else { format!("any://{item}") };
    let given = Url::parse(&text).ok()?;
    // Schemes that the parser does not know leave the host as it is spelled.
    let host = Url::parse(&format!("http://{}", given.host_str()?)).ok()?;
    let host = plain(host.host_str()?);
    Some(match given.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn knows(names: &'static [(&'static str, &'static [&'static str])]) -> Guard {
        Guard::new(["n8n.internal", "HOOKS.local:8080", "127.0.0.1:9000", "[::1]:9001", "http://build.test:5678/"])
            .with_lookup(move |host| {
                Box::pin(async move {
                    let found = names.iter().find(|(name, _)| *name == host);
                    let (_, all) = found.ok_or_else(|| io::Error::other("no such name"))?;
                    Ok(all.iter().map(|a| a.parse().unwrap()).collect())
                })
            })
    }

    #[tokio::test]
    async fn literal_addresses_in_every_spelling() {
        let guard = knows(&[]);
        let refused = "http://127.0.0.1 http://127.0.0.1:8080/x http://127.1 http://0x7f.1 http://0x7f000001 http://2130706433 \
            http://017700000001 http://0177.0.0.1 http://127.0.0.1. http://0 http://0.0.0.0 http://[::] http://[::1] \
            http://[::ffff:127.0.0.1] http://[::ffff:7f00:1] http://[::127.0.0.1] http://[64:ff9b::7f00:1] http://169.254.169.254/latest \
            http://[fd00:ec2::254] http://%31%32%37.0.0.1 http://①②⑦.0.0.1 http://127。0。0。1 https://10.0.0.1 http://255.255.255.255 \
            http://[fe80::1] http://127.0.0.1:9001 http://[::1]:9000";
        for text in refused.split_whitespace() {
            assert_eq!(guard.check(&url(text)).await, Err(Refusal::Address), "{text}");
        }
        for text in ["http://8.8.8.8", "https://[2606:4700::1111]/x?y#z", "http://134744072"] {
            assert_eq!(guard.check(&url(text)).await, Ok(()), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_web_address_is_refused() {
        let guard = knows(&[("ok.test", &["8.8.8.8"])]);
        for text in [
            "ftp://ok.test",
            "file:///etc/passwd",
            "gopher://ok.test",
            "data:text/plain,x",
            "http://u@ok.test",
            "http://:p@ok.test",
            "https://u:p@ok.test/",
            "http://ok.test:0/",
        ] {
            assert!(matches!(guard.check(&url(text)).await, Err(Refusal::Url(_))), "{text}");
        }
        assert_eq!(guard.check(&url("https://ok.test:8443/hook")).await, Ok(()));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_all_its_addresses() {
        let guard = knows(&[
            ("ok.test", &["8.8.8.8", "2606:4700::1111"]),
            ("inside.test", &["10.0.0.1"]),
            ("both.test", &["8.8.8.8", "127.0.0.1"]),
            ("mapped.test", &["::ffff:169.254.169.254"]),
            ("nothing.test", &[]),
        ]);
        assert_eq!(guard.check(&url("http://ok.test")).await, Ok(()));
        for text in ["http://inside.test", "http://both.test", "http://mapped.test"] {
            assert_eq!(guard.check(&url(text)).await, Err(Refusal::Address), "{text}");
        }
        for text in ["http://nothing.test", "http://unknown.test"] {
            assert_eq!(guard.check(&url(text)).await, Err(Refusal::Dns), "{text}");
        }
        let real = Guard::new::<&str>([]);
        assert_eq!(real.check(&url("http://localhost:1")).await, Err(Refusal::Address));
        // Some resolvers do not know it with the dot.
        assert!(real.check(&url("http://localhost.:1")).await.is_err());
    }

    #[tokio::test]
    async fn what_the_operator_lets_through() {
        let guard =
            knows(&[("n8n.internal", &["10.0.0.1"]), ("hooks.local", &["10.0.0.1"]), ("build.test", &["10.0.0.1"])]);
        for text in [
            "http://n8n.internal",
            "https://N8N.internal.:5678/webhook",
            "http://hooks.local:8080",
            "http://127.0.0.1:9000",
            "http://0x7f.1:9000",
            "http://[::1]:9001/",
            "http://build.test:5678/webhook",
        ] {
            assert_eq!(guard.check(&url(text)).await, Ok(()), "{text}");
        }
        for text in ["http://hooks.local", "http://hooks.local:8081", "http://127.0.0.1", "http://build.test"] {
            assert_eq!(guard.check(&url(text)).await, Err(Refusal::Address), "{text}");
        }
        assert!(matches!(guard.check(&url("http://u@n8n.internal")).await, Err(Refusal::Url(_))), "form still counts");
    }
}
