//! `portcullis version`.

use crate::cli::VersionArgs;

pub fn run(args: &VersionArgs) -> anyhow::Result<()> {
    match args.output.as_deref() {
        None => println!("portcullis {VERSION}"),
        Some("json") => println!(
            "{}",
            serde_json::json!({ "version": VERSION, "platform": platform() })
        ),
        Some(other) => anyhow::bail!("-o {other} is not known; it takes `json`"),
    }
    Ok(())
}

fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)
}

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
