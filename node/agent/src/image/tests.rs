use super::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;

fn images() -> Vec<Image> {
    ["pause", "echo"]
        .map(|name| Image {
            name: format!("portcullis.dev/{name}:1"),
            arguments: vec![name.into()],
        })
        .to_vec()
}

#[test]
fn two_assemblies_are_byte_for_byte_the_same() {
    for compression in [Compression::None, Compression::Gzip] {
        let archive = || written(&Archive::read(shell(), &images(), compression).unwrap());
        assert_eq!(archive(), archive());
    }
}

#[test]
fn every_blob_hashes_to_its_name_and_libraries_are_there() {
    for compression in [Compression::None, Compression::Gzip] {
        let archive = Archive::read(shell(), &images(), compression).unwrap();
        let mut blobs = 0;
        for (path, content) in files(&written(&archive)) {
            let Some(digest) = path.strip_prefix("blobs/sha256/") else {
                continue;
            };
            assert_eq!(layer::blob(&content).digest, format!("sha256:{digest}"));
            blobs += 1;
        }
        assert_eq!(
            blobs, 8,
            "two layers, and of each image a configuration, a manifest and an index"
        );
    }
    let names: Vec<_> = libraries::needed(shell())
        .unwrap()
        .into_iter()
        .map(|library| library.path)
        .collect();
    assert!(
        names.iter().any(|name| name.ends_with("libc.so.6")),
        "{names:?}"
    );
}

#[test]
fn a_built_image_names_its_platform_and_its_user_and_unpacks_to_what_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("image.tar");
    let image = Image {
        name: "portcullis.dev/portcullis:9".into(),
        arguments: Vec::new(),
    };
    let digest = build(shell(), &image, Compression::Gzip, &out).unwrap();
    let files: BTreeMap<_, _> = files(&std::fs::read(&out).unwrap()).into_iter().collect();
    let json = |digest: &str| -> Value {
        let path = format!("blobs/{}", digest.replace(':', "/"));
        serde_json::from_slice(&files[&path]).unwrap()
    };
    let outer: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let named = &outer["manifests"][0];
    assert_eq!(named["digest"], digest.as_str());
    assert_eq!(named["annotations"]["io.containerd.image.name"], image.name);
    let inner = json(&digest);
    let platform = &inner["manifests"][0];
    assert_eq!(platform["platform"]["architecture"], architecture());
    let manifest = json(platform["digest"].as_str().unwrap());
    let config = json(manifest["config"]["digest"].as_str().unwrap());
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(
        config["config"]["Entrypoint"],
        serde_json::json!(["/portcullis"])
    );

    let layers = manifest["layers"].as_array().unwrap();
    for (layer, diff_id) in layers
        .iter()
        .zip(config["rootfs"]["diff_ids"].as_array().unwrap())
    {
        let path = format!(
            "blobs/{}",
            layer["digest"].as_str().unwrap().replace(':', "/")
        );
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(files[&path].as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        assert_eq!(layer::blob(&plain).digest, diff_id.as_str().unwrap());
        if let Some((_, content)) = self::files(&plain).iter().find(|(path, _)| path == PROGRAM) {
            assert_eq!(content, &std::fs::read(shell()).unwrap());
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

fn shell() -> &'static Path {
    Path::new("/bin/sh")
}

fn written(archive: &Archive) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.write(&mut bytes).unwrap();
    bytes
}

/// Regular files of a tar.
fn files(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        found.push((path, content));
    }
    found
}
