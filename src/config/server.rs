//! `[listen]` `[admin]` `[state]` `[plugins]` `[limits]` `[shutdown]` `[log]` `[reload]`: the gateway itself.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::filter::EnvFilter;

use super::place::Place;
use super::{Admin, Control, Limits, Listen, Log, LogFormat, PluginSettings, Sandbox, Tls};
use crate::document::{Node, Section, Wrong, boolean, duration, integer, one_of, parsed, size};
use crate::limits;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// A chain of a few guards that each ask a model.
const CHAIN_BUDGET_MAX: Duration = Duration::from_secs(300);

const DATA_ADDRESS: SocketAddr = local(8080);
const ADMIN_ADDRESS: SocketAddr = local(8081);

/// What `sun_path` of a Unix socket address holds on Linux, without its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

pub(super) fn state_dir(section: &mut Section<'_, '_>, place: &Place<'_>) -> Option<PathBuf> {
    const DEFAULT: &str = "~/.hookway";
    let dir = section.get("dir", place.path());
    if section.has("dir") {
        return dir;
    }
    let dir = place.resolve(DEFAULT);
    dir.map_err(|text| section.problem("dir", format!("[state] dir {DEFAULT:?} {text}"))).ok()
}

pub(super) fn listen(
    section: &mut Section<'_, '_>,
    place: &Place<'_>,
    state_dir: Option<&Path>,
) -> Option<Listen> {
    let tls = section.optional_table("tls", "{ cert = \"cert.pem\", key = \"key.pem\" }", |tls| {
        let cert = tls.need("cert", "cert = \"cert.pem\"", place.pem_file("CERTIFICATE"));
        let key = tls.need("key", "key = \"key.pem\"", place.pem_file("PRIVATE KEY"));
        Some(Tls { cert: cert?, key: key? })
    });
    let tls = tls.flatten();
    if let Some(Err(text)) = tls.as_ref().map(|tls| crate::tls::listener(&tls.cert, &tls.key)) {
        section.problem("tls", format!("tls: its certificate and key {text}"));
    }
    Some(Listen {
        address: section.get("address", parsed(address)).unwrap_or(DATA_ADDRESS),
        tls,
        threads: section.get("threads", integer(1..=1024)).unwrap_or_else(cores),
        upgrade_socket: upgrade_socket(section, place, state_dir),
    })
}

/// A default that does not fit a socket address is none: only an upgrade needs it, and says so then.
fn upgrade_socket(
    section: &mut Section<'_, '_>,
    place: &Place<'_>,
    state_dir: Option<&Path>,
) -> Option<PathBuf> {
    const KEY: &str = "upgrade_socket";
    let fits = |path: &Path| path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX;
    let Some(path) = section.get(KEY, place.path()) else {
        return state_dir.map(|dir| dir.join("upgrade.sock")).filter(|path| fits(path));
    };
    if !fits(&path) {
        let text =
            format!("{KEY} is a path too long for a socket; write at most {SOCKET_PATH_BYTES_MAX} bytes");
        section.problem(KEY, text);
    }
    Some(path)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

pub(super) fn admin(
    section: &mut Section<'_, '_>,
    place: &Place<'_>,
    data_address: Option<SocketAddr>,
) -> Option<Admin> {
    let address = section.get("address", parsed(address)).unwrap_or(ADMIN_ADDRESS);
    if data_address.is_some_and(|data| clash(data, address)) {
        let text =
            format!("[admin] address {address} is the data plane's too; write another port than [listen]'s");
        section.problem("address", text);
    }
    let token_file = section.get("token_file", place.text_file());
    if let Some((_, token)) = &token_file
        && token.trim().len() < limits::TOKEN_CHARACTERS_MIN
    {
        let text = format!(
            "token_file names a file whose token has {} characters; write at least {} random ones into it",
            token.trim().len(),
            limits::TOKEN_CHARACTERS_MIN
        );
        section.problem("token_file", text);
    }
    Some(Admin { address, token_file: token_file.map(|(path, _)| path) })
}

/// `[admin]` and `[state]` alone; the rest of the file may say what it likes.
pub(super) fn control(root: &mut Section<'_, '_>, place: &Place<'_>) -> Option<Control> {
    root.take_others();
    let state_dir = root.table("state", |state| {
        state.take_others();
        state_dir(state, place)
    });
    let (address, token_file) = root.table("admin", |admin| {
        admin.take_others();
        (admin.get("address", parsed(address)), admin.get("token_file", place.path()))
    });
    Some(Control { address: address.unwrap_or(ADMIN_ADDRESS), token_file, state_dir: state_dir? })
}

/// Whether two listeners would ask the kernel for the same port of the same address. Port 0 is always another one.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, narrow: SocketAddr| {
        wide.ip() == narrow.ip() || (wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4()))
    };
    one.port() != 0 && one.port() == other.port() && (covers(one, other) || covers(other, one))
}

pub(super) fn plugins(
    section: &mut Section<'_, '_>,
    place: &Place<'_>,
    state_dir: Option<&Path>,
) -> Option<PluginSettings> {
    let dirs = section.list("dirs", place.path());
    Some(PluginSettings {
        sandbox: section.get("sandbox", sandbox).unwrap_or(Sandbox::Off),
        chain_budget: section
            .get("chain_budget", duration(MILLISECOND..=CHAIN_BUDGET_MAX))
            .unwrap_or(limits::CHAIN_BUDGET),
        drain: section.get("drain", duration(SECOND..=DAY)).unwrap_or(limits::DRAIN_MAX),
        dirs: match dirs {
            Some(dirs) => dirs,
            None => vec![state_dir?.join("plugins")],
        },
    })
}

/// What is required and cannot be given must not start.
fn sandbox(node: &Node) -> Result<Sandbox, Wrong> {
    const WORDS: [(&str, Option<Sandbox>); 3] =
        [("required", None), ("best-effort", Some(Sandbox::BestEffort)), ("off", Some(Sandbox::Off))];
    one_of(&WORDS)(node)?.ok_or_else(|| {
        Wrong::Value("cannot be met: this version does not confine plugins; write \"off\"".to_owned())
    })
}

pub(super) fn limits(section: &mut Section<'_, '_>) -> Limits {
    let body_bytes = section.get("body_size", size(1 << 10..=1 << 30)).unwrap_or(limits::BODY_BYTES);
    let buffered = buffered(section, body_bytes);
    let mut timeout = |key, default| section.get(key, duration(MILLISECOND..=DAY)).unwrap_or(default);
    Limits {
        header_timeout: timeout("header_timeout", limits::HEADER_TIMEOUT),
        body_timeout: timeout("body_timeout", limits::BODY_TIMEOUT),
        idle_timeout: timeout("idle_timeout", limits::IDLE_TIMEOUT),
        write_timeout: timeout("write_timeout", limits::WRITE_TIMEOUT),
        half_close_wait: section
            .get("half_close_wait", duration(Duration::ZERO..=DAY))
            .unwrap_or(limits::HALF_CLOSE_WAIT),
        header_bytes: section.get("header_size", size(1 << 10..=1 << 20)).unwrap_or(limits::HEADER_BYTES),
        body_bytes,
        buffered,
        body_rate: section.get("body_rate", size(0..=1 << 30)).unwrap_or(limits::BODY_RATE),
        answer_rate: section.get("answer_rate", size(0..=1 << 30)).unwrap_or(limits::ANSWER_RATE),
        rate_window: section.get("rate_window", duration(SECOND..=DAY)).unwrap_or(limits::RATE_WINDOW),
        bodies_in_flight: section
            .get("bodies_in_flight", integer(1..=1_000_000))
            .unwrap_or(limits::BODIES_IN_FLIGHT),
        requests_in_flight: section
            .get("requests_in_flight", integer(1..=1_000_000))
            .unwrap_or(limits::REQUESTS_IN_FLIGHT),
    }
}

/// Half of it is for requests, and the largest body has to fit in there.
fn buffered(section: &mut Section<'_, '_>, body_bytes: u64) -> u64 {
    const KEY: &str = "buffered";
    let buffered = section.get(KEY, size(1 << 11..=1 << 40));
    if buffered.is_some_and(|buffered| buffered / 2 < body_bytes) {
        let text = "buffered has no room for a body of body_size: half of it is for requests; write at least twice body_size";
        section.problem(KEY, text);
    }
    buffered.unwrap_or(limits::BUFFERED_BYTES.max(4 * body_bytes))
}

pub(super) fn shutdown_grace(section: &mut Section<'_, '_>) -> Duration {
    section.get("grace", duration(Duration::ZERO..=DAY)).unwrap_or(limits::SHUTDOWN_GRACE)
}

pub(super) fn log(section: &mut Section<'_, '_>) -> Log {
    let format = one_of(&[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)]);
    Log {
        format: section.get("format", format).unwrap_or(LogFormat::Pretty),
        level: section.get("level", parsed(level)).unwrap_or_else(|| "info".to_owned()),
        access: section.get("access", boolean).unwrap_or(true),
    }
}

pub(super) fn watch(section: &mut Section<'_, '_>) -> bool {
    section.get("watch", boolean).unwrap_or(true)
}

/// Filter directives. A lone word must be a level: the filter itself takes `inf` for a module of that name.
fn level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let whole = text.split(',').all(|directive| match directive.rsplit_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(directive),
    });
    if whole && EnvFilter::builder().parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!("is not a log filter; write one of {}, or \"info,hookway::relay=debug\"", LEVELS.join(", ")))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_err() {
        return Err(format!("has port {port}; write 0 to 65535"));
    }
    let host = match host {
        "localhost" => "127.0.0.1",
        "" | "*" => "0.0.0.0",
        other => other,
    };
    let port = if port.is_empty() { "8080" } else { port };
    let meant = format!("{host}:{port}").parse().unwrap_or(DATA_ADDRESS);
    Err(format!("is not an address; write IP:PORT, for example \"{meant}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_clash_when_one_covers_the_other_on_the_same_port() {
        let table = [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ];
        for (one, other, expected) in table {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(clash(one, other), expected, "{one} {other}");
            assert_eq!(clash(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_answered_with_one() {
        assert_eq!(address("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
        let meant = |text: &str| address(text).unwrap_err();
        assert!(meant("localhost:9000").ends_with("\"127.0.0.1:9000\""));
        assert!(meant(":9000").ends_with("\"0.0.0.0:9000\""));
        assert!(meant("10.0.0.1").ends_with("\"10.0.0.1:8080\""));
        assert!(meant("example.com:80").ends_with("\"127.0.0.1:8080\""));
        assert_eq!(meant("127.0.0.1:70000"), "has port 70000; write 0 to 65535");
    }

    #[test]
    fn a_log_filter_names_levels() {
        for good in ["info", "WARN", "info,hookway::relay=debug", "off,hookway=trace"] {
            assert_eq!(level(good).as_deref(), Ok(good));
        }
        for bad in ["", "inf", "info,", "hookway", "hookway=verbose", "=info"] {
            assert!(level(bad).is_err(), "{bad}");
        }
    }
}
