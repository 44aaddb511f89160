//! nginx and HAProxy as Debian packages them, configured to do no more than the bare proxy does.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Process, Running, Setting, command, free_address};
use crate::scenario::{Peer, PeerKind};

/// Where Debian puts servers, which is not on everybody's PATH.
const SERVERS: &str = "/usr/sbin";

/// None if the program is not installed.
pub(super) fn start(peer: &Peer, setting: &Setting<'_>) -> anyhow::Result<Option<Running>> {
    let name = match peer.kind {
        PeerKind::Nginx => "nginx",
        PeerKind::Haproxy | PeerKind::Direct | PeerKind::Bare | PeerKind::Hookway => "haproxy",
    };
    let Some(program) = find(name) else { return Ok(None) };
    let folder = setting.folder.join(&peer.name);
    std::fs::create_dir_all(&folder)?;
    let listen = free_address()?;
    let file = folder.join(format!("{name}.conf"));
    let mut command = command(&program, setting.cores)?;
    if name == "nginx" {
        std::fs::write(
            &file,
            nginx(&listen.to_string(), &setting.upstream.to_string(), setting.threads, &folder),
        )?;
        command.arg("-c").arg(&file).arg("-p").arg(&folder).args(["-e", "stderr"]);
    } else {
        std::fs::write(&file, haproxy(&listen.to_string(), &setting.upstream.to_string(), setting.threads))?;
        command.arg("-f").arg(&file);
    }
    command.stdout(Stdio::null());
    let mut process = Process::start(&peer.name, &mut command, setting.folder)?;
    process.wait_for(|| std::net::TcpStream::connect(listen).is_ok())?;
    Ok(Some(Running { name: peer.name.clone(), address: listen, process: Some(process), gateway: None }))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(SERVERS)]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Buffering is off, as it is for every LLM proxy: an event must leave when it came.
fn nginx(listen: &str, upstream: &str, threads: usize, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process on;\nworker_processes {threads};\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  tcp_nodelay on;\n  keepalive_requests 10000000;\n  client_max_body_size 64m;\n\
         \x20 client_body_buffer_size 1m;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n\
         \x20 fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n\
         \x20 upstream scripted {{ server {upstream}; keepalive 1024; keepalive_requests 10000000; }}\n\
         \x20 server {{\n    listen {listen};\n    location / {{\n      proxy_pass http://scripted;\n\
         \x20     proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_buffering off;\n    }}\n  }}\n}}\n"
    )
}

fn haproxy(listen: &str, upstream: &str, threads: usize) -> String {
    format!(
        "global\n  nbthread {threads}\n  maxconn 4096\n\
         defaults\n  mode http\n  option http-no-delay\n  http-reuse always\n  timeout connect 5s\n  timeout client 60s\n\
         \x20 timeout server 60s\n\
         frontend in\n  bind {listen}\n  default_backend scripted\n\
         backend scripted\n  server one {upstream} pool-max-conn 1024\n"
    )
}
