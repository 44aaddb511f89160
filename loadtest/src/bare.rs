//! The yardstick: the least a proxy on Pingora can be. `ProxyHttp` with one fixed upstream and nothing else.
//!
//! Same Pingora version as the gateway, same number of threads, keep-alive on both sides, no logs. What the
//! gateway costs is told as a ratio to this, measured in the same run on the same cores.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut (),
    ) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let configuration = ServerConf {
        threads: arguments.threads,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Bare { upstream: arguments.upstream });
    proxy.add_tcp(&arguments.listen.to_string());
    server.add_service(proxy);
    server.run_forever()
}
