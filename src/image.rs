//! `portcullis image`: the image of this binary, and images into the cluster of `up`.

use std::{path::PathBuf, time::Instant};

use anyhow::Context;
use portcullis_agent::Image;

use crate::cli::{ImageBuildArgs, ImageCommand, ImageLoadArgs};

pub async fn run(command: ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Build(args) => build(&args),
        ImageCommand::Load(args) => load(&args).await,
    }
}

/// The image of this version, as `up` imports it and `image build` writes it: without arguments it is the command itself.
pub fn of_this_version() -> Image {
    Image {
        name: concat!("portcullis.dev/portcullis:", env!("CARGO_PKG_VERSION")).to_owned(),
        arguments: Vec::new(),
    }
}

fn build(args: &ImageBuildArgs) -> anyhow::Result<()> {
    let image = Image {
        name: args.name.clone(),
        ..of_this_version()
    };
    let directories = args.output.parent().unwrap_or(&args.output);
    std::fs::create_dir_all(directories)
        .with_context(|| format!("{} cannot be made", directories.display()))?;
    // By this name the running file can be read even after it was replaced on disk.
    let executable = PathBuf::from("/proc/self/exe");
    let executable = std::fs::canonicalize(&executable).unwrap_or(executable);
    let compression = args.compression.into();
    let digest = portcullis_agent::build_image(&executable, &image, compression, &args.output)?;
    println!("{}@{digest} in {}", image.name, args.output.display());
    Ok(())
}

async fn load(args: &ImageLoadArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let names = portcullis_agent::load_images(&args.data_dir, &args.file).await?;
    let took = begun.elapsed().as_secs_f64();
    println!("loaded {} in {took:.1} s", names.join(", "));
    Ok(())
}
