//! Pictures without labels: those below a file or folder, and what is wrong with one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use ulda_run::hints;
use ulda_run::spec::is_image_name;

use crate::dataset::Depth;
use crate::decode::{check_image_header, read_image};
use crate::error::SampleError;
use crate::geometry::Size;
use crate::header::read_header;

/// Least side of a picture whose statistics are a style: the coarsest stride of the network.
pub const LEAST_SIDE: u32 = 32;

/// A PNG or JPEG file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its place below the folder it was found in, or its file name.
    pub name: String,
    pub path: PathBuf,
}

/// Why pictures cannot be listed.
#[derive(Debug, Error)]
pub enum PicturesError {
    #[error("`{}` does not exist", .0.display())]
    Missing(PathBuf),
    #[error("no PNG or JPEG image below `{}`", .0.display())]
    Empty(PathBuf),
    #[error("list `{}`", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

hints!(pub PicturesError {
    Self::Missing(_) | Self::Empty(_) => "give PNG or JPEG images, or folders that hold some",
    Self::Folder { .. } => "check its permissions and its disk",
});

/// The picture that `input` names, or all PNG and JPEG files below it, folder by folder in order of name.
///
/// # Errors
/// When it does not exist, or a folder cannot be read.
pub fn list_pictures(input: &Path) -> Result<Vec<Picture>, PicturesError> {
    let mut paths = Vec::new();
    if input.is_dir() {
        collect_below(input, &mut paths)?;
    } else if input.is_file() {
        paths.push(input.to_owned());
    } else {
        return Err(PicturesError::Missing(input.to_owned()));
    }
    let folder = if input.is_dir() {
        input
    } else {
        input.parent().unwrap_or(input)
    };
    let named = paths.into_iter().map(|path| Picture {
        name: path
            .strip_prefix(folder)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned(),
        path,
    });
    Ok(named.collect())
}

fn collect_below(folder: &Path, images: &mut Vec<PathBuf>) -> Result<(), PicturesError> {
    let unreadable = |source| PicturesError::Folder {
        path: folder.to_owned(),
        source,
    };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, io::Error>>().map_err(unreadable)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect_below(&path, images)?;
        } else if is_image_name(&path) {
            images.push(path);
        }
    }
    Ok(())
}

impl Picture {
    /// Looks whether it can be read and has sides of at least `least` pixels.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn audit(&self, depth: Depth, least: u32) -> Result<(), SampleError> {
        let header = read_header(&self.path)?;
        check_image_header(&self.path, &header)?;
        check_least(&self.path, header.size(), least)?;
        match depth {
            Depth::Headers => Ok(()),
            Depth::Pixels => read_image(&self.path).map(drop),
        }
    }
}

/// # Errors
/// When a side of the image at `path` is below `least` pixels.
pub fn check_least(path: &Path, image: Size, least: u32) -> Result<(), SampleError> {
    if image.width.min(image.height) < least {
        return Err(SampleError::TooSmall {
            path: path.to_owned(),
            image,
            least,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Image;
    use crate::png_io::write_rgb;

    #[test]
    fn pictures_are_listed_in_order_and_named_by_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("b/c")).unwrap();
        let image = Image {
            size: Size::new(40, 20),
            rgb: vec![7; 40 * 20 * 3],
        };
        for name in ["z.PNG", "b/c/x.jpeg", "b/a.jpg"] {
            write_rgb(&at(name), &image).unwrap();
        }
        fs::write(at("notes.txt"), "").unwrap();
        let names = |input: &Path| -> Vec<String> {
            let pictures = list_pictures(input).unwrap();
            pictures.into_iter().map(|picture| picture.name).collect()
        };
        assert_eq!(names(folder.path()), ["b/a.jpg", "b/c/x.jpeg", "z.PNG"]);
        assert_eq!(names(&at("b/a.jpg")), ["a.jpg"]);
        let missing = list_pictures(&at("none")).unwrap_err();
        assert!(missing.to_string().ends_with("none` does not exist"), "{missing}");
        assert!(
            missing.hint().unwrap().contains("give PNG or JPEG images"),
            "{missing:?}"
        );

        let picture = &list_pictures(&at("z.PNG")).unwrap()[0];
        assert!(picture.audit(Depth::Pixels, 20).is_ok());
        let refused = picture.audit(Depth::Headers, 32).unwrap_err().to_string();
        assert!(
            refused.contains("is 40x20") && refused.contains("at least 32"),
            "{refused}"
        );
    }
}
