//! Images in the file system, as the OCI image layout has them (image specification 1.1, `image-layout.md`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageIndexBuilder, ImageManifest, MediaType, OciLayout,
    OciLayoutBuilder,
};
use serde_json::{Value, json};

use crate::image::{Blob, Image, json, sha256};

/// The layout's own version, which is not the specification's.
const VERSION: &str = "1.0.0";
/// The digests of all images in a directory.
pub const DIGESTS: &str = "digests.json";
/// The checksums of all files in a directory, as `sha256sum -c` takes them.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// Writes an image into a directory of its own, in place of what is there. Its tag is a name within the layout, which
/// tools that copy images go by.
///
/// # Errors
/// If a file cannot be written.
pub fn write(directory: &Path, tag: &str, image: &Image) -> Result<()> {
    remove(directory)?;
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("make {}", blobs.display()))?;
    for blob in image.blobs.iter().chain(image.manifests()) {
        put(&blobs.join(&blob.sha256), &blob.bytes)?;
    }
    let mut root = image.root.descriptor()?;
    root.set_annotations(Some([(ANNOTATION_REF_NAME.to_owned(), tag.to_owned())].into()));
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![root])
        .build()?;
    put(&directory.join("index.json"), &json(&index)?)?;
    let layout = OciLayoutBuilder::default().image_layout_version(VERSION).build()?;
    put(&directory.join("oci-layout"), &json(&layout)?)
}

/// Fills a directory in place of the one that is there, which is removed only when `fill` has succeeded: what fails leaves
/// the old one whole, and a reader finds one or the other.
///
/// # Errors
/// Those of `fill`; or if a directory cannot be made, moved or removed.
pub fn replace(directory: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let beside = |end: &str| {
        let mut name = directory.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (new, old) = (beside(".new"), beside(".old"));
    // What an interrupted run has left.
    for left in [&new, &old] {
        remove(left)?;
    }
    fs::create_dir_all(&new).with_context(|| format!("make {}", new.display()))?;
    fill(&new)?;
    if directory.exists() {
        fs::rename(directory, &old).with_context(|| format!("move {}", directory.display()))?;
    }
    fs::rename(&new, directory).with_context(|| format!("move {}", new.display()))?;
    remove(&old)
}

/// Removes a directory, if it is there.
fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    Ok(())
}

/// The image in a directory, and its tag. Every digest and size is checked.
///
/// # Errors
/// If there is none, more than one, or a damaged one.
pub fn read(directory: &Path) -> Result<(String, Image)> {
    let of = |error: anyhow::Error| error.context(format!("read the image in {}", directory.display()));
    read_image(directory).map_err(of)
}

/// Every image in a directory of layouts, by the layout's name.
///
/// # Errors
/// As [`read`].
pub fn read_all(directory: &Path) -> Result<BTreeMap<String, (String, Image)>> {
    let mut images = BTreeMap::new();
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && path.join("oci-layout").exists()
        {
            images.insert(name.to_owned(), read(&path)?);
        }
    }
    Ok(images)
}

/// What resources and charts pin: of each image its tag, its digest, and for each platform that of its manifest.
pub fn digests(images: &BTreeMap<String, (String, Image)>) -> Value {
    let of_image = |(name, (tag, image)): (&String, &(String, Image))| {
        let mut value = json!({"tag": tag, "digest": image.digest()});
        if !image.platforms.is_empty() {
            let of_platform = |(name, manifest): &(String, Blob)| (name.clone(), manifest.digest());
            let platforms: BTreeMap<_, _> = image.platforms.iter().map(of_platform).collect();
            value["platforms"] = json!(platforms);
        }
        (name.clone(), value)
    };
    images.iter().map(of_image).collect()
}

/// Writes [`DIGESTS`] for the images in a directory, and [`CHECKSUMS`] for all of its files.
///
/// # Errors
/// If a file cannot be read or written.
pub fn seal(directory: &Path) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&digests(&read_all(directory)?))?;
    text.push('\n');
    put(&directory.join(DIGESTS), text.as_bytes())?;
    sum(directory)
}

/// Writes [`CHECKSUMS`] for all files of a directory.
///
/// # Errors
/// If a file cannot be read or written.
pub fn sum(directory: &Path) -> Result<()> {
    let files = below(directory)?;
    let mut lines = Vec::new();
    for file in files {
        let name = file.strip_prefix(directory)?.to_str().context("a file's name is not UTF-8")?.to_owned();
        if name != CHECKSUMS {
            let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            lines.push(format!("{}  {name}\n", sha256(&bytes)));
        }
    }
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    put(&directory.join(CHECKSUMS), lines.concat().as_bytes())
}

/// All files of a directory and of those in it.
///
/// # Errors
/// If one of them cannot be listed.
pub fn below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        if path.is_dir() { files.extend(below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// Writes a file.
///
/// # Errors
/// With the file's name.
pub fn put(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(file, bytes).with_context(|| format!("write {}", file.display()))
}

fn read_image(directory: &Path) -> Result<(String, Image)> {
    let layout = OciLayout::from_file(directory.join("oci-layout")).context("oci-layout")?;
    ensure!(
        layout.image_layout_version() == VERSION,
        "its layout is of version {}",
        layout.image_layout_version()
    );
    let index = ImageIndex::from_file(directory.join("index.json")).context("index.json")?;
    let [descriptor] = &index.manifests()[..] else {
        bail!("there are {} images in it, and one is expected", index.manifests().len());
    };
    let tag = descriptor.annotations().as_ref().and_then(|all| all.get(ANNOTATION_REF_NAME));
    let tag = tag.context("it has no tag")?.clone();
    let root = blob(directory, descriptor)?;
    let mut image = Image { root, platforms: Vec::new(), blobs: Vec::new() };
    if image.root.media_type == MediaType::ImageIndex {
        let index = ImageIndex::from_reader(&image.root.bytes[..]).context("its index")?;
        for descriptor in index.manifests() {
            let platform =
                descriptor.platform().as_ref().context("a manifest in its index has no platform")?;
            let name = format!("{}/{}", platform.os(), platform.architecture());
            image.platforms.push((name, blob(directory, descriptor)?));
        }
    }
    let manifests: Vec<Blob> =
        image.manifests().filter(|blob| blob.media_type == MediaType::ImageManifest).cloned().collect();
    for manifest in manifests {
        let manifest = ImageManifest::from_reader(&manifest.bytes[..]).context("its manifest")?;
        for descriptor in [manifest.config()].into_iter().chain(manifest.layers()) {
            image.blobs.push(blob(directory, descriptor)?);
        }
    }
    Ok((tag, image))
}

fn blob(directory: &Path, descriptor: &Descriptor) -> Result<Blob> {
    let digest = descriptor.digest();
    let file = directory.join("blobs").join(digest.algorithm().as_ref()).join(digest.digest());
    let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let blob = Blob::new(descriptor.media_type().clone(), bytes);
    ensure!(
        blob.sha256 == digest.digest() && blob.bytes.len() as u64 == descriptor.size(),
        "{} is not what its name and size say: it is damaged",
        file.display()
    );
    Ok(blob)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{About, File};

    const ABOUT: About<'static> =
        About { title: "title", version: "1", description: None, licences: None, source: None };

    fn module() -> Image {
        Image::of_module(b"module", &ABOUT).unwrap()
    }

    fn native() -> Image {
        let files = |bytes| vec![File { path: "lib.so", executable: true, bytes }];
        Image::of_platforms(&[("amd64", files(b"x86")), ("arm64", files(b"arm"))], "cp", &ABOUT).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("image");
        for image in [module(), native(), module()] {
            write(&directory, "0.1.0", &image).unwrap();
            assert_eq!(read(&directory).unwrap(), ("0.1.0".to_owned(), image));
        }
        let files = below(&directory).unwrap();
        // Two of the layout, a manifest, a configuration and a layer: nothing of the image before.
        assert_eq!(files.len(), 5);
        assert_eq!(
            fs::read_to_string(directory.join("oci-layout")).unwrap(),
            r#"{"imageLayoutVersion":"1.0.0"}"#
        );
    }

    #[test]
    fn a_directory_stays_until_all_of_the_next_one_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("images");
        let fill = |name: &'static str| move |to: &Path| put(&to.join(name), b"");
        let names = |of: &Path| {
            let found = fs::read_dir(of).unwrap().map(|entry| entry.unwrap().file_name());
            found.map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
        };
        replace(&directory, fill("first")).unwrap();
        replace(&directory, |to| fill("half")(to).and_then(|()| bail!("interrupted"))).unwrap_err();
        assert_eq!(names(&directory), ["first"]);
        replace(&directory, fill("second")).unwrap();
        assert_eq!((names(&directory), names(folder.path())), (vec!["second".into()], vec!["images".into()]));
    }

    #[test]
    fn damage_and_absence_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("image");
        assert!(format!("{:#}", read(&directory).unwrap_err()).contains("oci-layout"));
        write(&directory, "1", &module()).unwrap();
        let layer = directory.join("blobs/sha256").join(&module().blobs[1].sha256);
        fs::write(&layer, "other").unwrap();
        let why = format!("{:#}", read(&directory).unwrap_err());
        assert!(why.contains(&module().blobs[1].sha256) && why.contains("damaged"), "{why}");
        fs::remove_file(&layer).unwrap();
        assert!(format!("{:#}", read(&directory).unwrap_err()).contains(&module().blobs[1].sha256));
    }

    #[test]
    fn a_directory_is_sealed_with_its_digests_and_the_checksums_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("b"), "2", &native()).unwrap();
        write(&folder.path().join("a"), "1", &module()).unwrap();
        fs::write(folder.path().join("note"), "a note").unwrap();
        seal(folder.path()).unwrap();
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let digests: Value = serde_json::from_str(&text(DIGESTS)).unwrap();
        assert_eq!(
            digests,
            json!({
                "a": {"tag": "1", "digest": module().digest()},
                "b": {"tag": "2", "digest": native().digest(), "platforms": {
                    "linux/amd64": native().platforms[0].1.digest(),
                    "linux/arm64": native().platforms[1].1.digest(),
                }},
            })
        );
        let sums = text(CHECKSUMS);
        assert!(sums.contains(&format!("{}  note\n", sha256(b"a note"))));
        assert!(sums.contains("  digests.json\n") && sums.contains("  a/index.json\n"));
        let names: Vec<_> = sums.lines().map(|line| &line[66..]).collect();
        assert!(names.is_sorted() && !names.contains(&CHECKSUMS));
        // Once more, over the files of the first time.
        seal(folder.path()).unwrap();
        assert_eq!((text(CHECKSUMS), text(DIGESTS).is_empty()), (sums, false));
    }
}
