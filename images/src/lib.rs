//! OCI images of plugins for Envoy, without a container engine.
//!
//! The same files make the same bytes, on any machine at any time: entries of archives are in the order of their paths,
//! belong to user and group 0 and are of 1 January 1970, and JSON has its members in the order of their names. So who
//! builds the same source gets the same digests.
//!
//! - [`archive`]: files in one.
//! - [`image`]: what an image is made of.
//! - [`layout`]: images in the file system (OCI image layout), and the digests and checksums of all of them.
//! - [`push`]: images into registries.
//! - [`materials`]: what something was made from, as CycloneDX; [`sources`]: the workspace that it was made from.
//! - [`release`]: the folder from which users install.

pub mod archive;
pub mod image;
pub mod layout;
pub mod materials;
pub mod push;
pub mod release;
pub mod sources;

pub use archive::File;
pub use image::{About, Image};
