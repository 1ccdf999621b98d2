//! A pinhole camera over a flat world.

use crate::vector::{UP, V3, v3};

/// Pixel rows and columns of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    pub fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }
}

/// Where the picture is taken from, apart from its resolution.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    pub eye: V3,
    /// Downward tilt in radians.
    pub pitch: f32,
    /// Turn to the right in radians.
    pub yaw: f32,
    /// Focal length in picture widths.
    pub focal: f32,
}

/// A camera of one resolution. Depth is the distance along `forward`, in metres.
#[derive(Clone, Copy, Debug)]
pub struct Camera {
    pub eye: V3,
    pub right: V3,
    pub up: V3,
    pub forward: V3,
    /// Focal length in pixels.
    pub focal: f32,
    pub centre_x: f32,
    pub centre_y: f32,
}

impl Camera {
    pub fn new(stand: &Stand, size: Size) -> Self {
        let (sin_yaw, cos_yaw) = stand.yaw.sin_cos();
        let (sin_pitch, cos_pitch) = stand.pitch.sin_cos();
        let forward = v3(sin_yaw * cos_pitch, -sin_pitch, cos_yaw * cos_pitch);
        let right = UP.cross(forward).unit();
        Self {
            eye: stand.eye,
            right,
            up: forward.cross(right),
            forward,
            focal: stand.focal * size.width as f32,
            centre_x: size.width as f32 * 0.5,
            centre_y: size.height as f32 * 0.5,
        }
    }

    /// The direction through a picture position (pixels), of depth 1.
    pub fn ray(&self, x: f32, y: f32) -> V3 {
        self.forward + self.right * ((x - self.centre_x) / self.focal)
            - self.up * ((y - self.centre_y) / self.focal)
    }

    pub fn depth(&self, at: V3) -> f32 {
        (at - self.eye).dot(self.forward)
    }

    /// The picture position of a point of positive depth.
    pub fn project(&self, at: V3) -> (f32, f32) {
        let d = at - self.eye;
        let scale = self.focal / d.dot(self.forward);
        (
            self.centre_x + d.dot(self.right) * scale,
            self.centre_y - d.dot(self.up) * scale,
        )
    }
}
