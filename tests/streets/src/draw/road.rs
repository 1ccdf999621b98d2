//! The ground: carriageway with marks, parking lanes, sidewalks with kerbs, verges, and a crossing street.

use crate::label::Label;
use crate::material::{Surface, fine};
use crate::rng::{clouds, noise, speck};
use crate::vector::{Grid, Rgb, UP, V3, paint, ramp, stripe, v3};

/// What lies beside the carriageway on one side; widths in metres.
#[derive(Clone, Copy, Debug)]
pub struct Margin {
    pub parking: f32,
    pub sidewalk: f32,
    pub verge: f32,
}

impl Margin {
    /// From the carriageway's edge to the plots.
    pub fn width(&self) -> f32 {
        self.parking + self.sidewalk + self.verge
    }
}

/// A street crossing ours, from `near` to `far` metres ahead.
#[derive(Clone, Copy, Debug)]
pub struct Junction {
    pub near: f32,
    pub far: f32,
}

/// The plan of the ground. Lateral distances are from the street's middle, right positive.
#[derive(Clone, Copy, Debug)]
pub struct Street {
    /// Middle line: `x = slope·z + bend·z²`.
    pub slope: f32,
    pub bend: f32,
    pub half_width: f32,
    pub lanes_each_way: u32,
    pub margins: [Margin; 2],
    pub junction: Option<Junction>,
    pub tram: bool,
    pub tar: Rgb,
    pub slabs: Rgb,
    pub grass: Rgb,
    pub yellow_line: bool,
    pub salt: u32,
}

const WHITE: Rgb = paint(0.80, 0.80, 0.78);

impl Street {
    /// The street's middle at `z`.
    pub fn middle(&self, z: f32) -> f32 {
        // The bend eases off, or far houses would fold back over the street.
        let far = z.clamp(0.0, 140.0);
        self.slope * z + self.bend * far * far + (z - far).max(0.0) * 280.0 * self.bend
    }

    /// The direction of travel at `z`, horizontal unit vector.
    pub fn heading(&self, z: f32) -> V3 {
        v3(self.slope + 2.0 * self.bend * z.clamp(0.0, 140.0), 0.0, 1.0).unit()
    }

    /// The margin on the side of `lateral`.
    pub fn margin(&self, lateral: f32) -> &Margin {
        &self.margins[usize::from(lateral > 0.0)]
    }

    pub fn in_junction(&self, z: f32, room: f32) -> bool {
        self.junction
            .is_some_and(|j| z > j.near - room && z < j.far + room)
    }

    /// The label of the ground at a point.
    pub fn label(&self, at: V3) -> Label {
        let lateral = at.x - self.middle(at.z);
        let beyond = lateral.abs() - self.half_width;
        let margin = self.margin(lateral);
        if beyond < 0.0 || self.in_junction(at.z, 0.0) {
            return if self.tram && self.rails(lateral) {
                Label::RailTrack
            } else {
                Label::Road
            };
        }
        if beyond < margin.parking {
            return if margin.parking > 2.2 {
                Label::Parking
            } else {
                Label::Road
            };
        }
        // Sidewalks turn the corner into the crossing street.
        let corner = self
            .junction
            .is_some_and(|j| at.z > j.near - 2.5 && at.z < j.far + 2.5);
        if beyond < margin.parking + margin.sidewalk || corner {
            return Label::Sidewalk;
        }
        if at.z > 260.0 && noise(at.x * 0.01, at.z * 0.01, self.salt) > 0.8 {
            Label::Unlabeled
        } else {
            Label::Terrain
        }
    }

    fn rails(&self, lateral: f32) -> bool {
        (lateral.abs() - 1.6).abs() < 0.9
    }

    /// The ground as it looks when dry. `distance` from the eye and `footprint` in metres.
    pub fn surface(&self, at: V3, footprint: f32, distance: f32) -> Surface {
        let lateral = at.x - self.middle(at.z);
        let margin = self.margin(lateral);
        let beyond = lateral.abs() - self.half_width;
        // A pixel on the ground is long in z and short in x.
        let long = (footprint * distance / 1.4).min(60.0);
        let label = self.label(at);
        let mut colour = match label {
            Label::Sidewalk => self.slabs_look(lateral, at.z, footprint, long),
            Label::Terrain | Label::Unlabeled => self.grass_look(at, footprint),
            Label::Parking => self.setts_look(lateral, at.z, footprint, long),
            _ => self.tar_look(lateral, at.z, footprint, long),
        };
        let kerb = beyond - margin.parking;
        if matches!(label, Label::Sidewalk) && !self.in_junction(at.z, 2.5) {
            colour = colour.mix(paint(0.66, 0.65, 0.62), stripe(kerb, 0.11, 0.11, footprint));
            colour = colour.mix(paint(0.20, 0.20, 0.20), stripe(kerb, -0.02, 0.05, footprint));
        }
        if matches!(label, Label::Road | Label::RailTrack) {
            let mark = self.marks(lateral, at.z, footprint, long);
            let wear = 0.75 + 0.25 * fine(at.x * 4.0, at.z * 2.0, self.salt ^ 5, long * 2.0);
            colour = colour.mix(self.mark_colour(lateral, at.z), mark * wear);
            if self.tram {
                let rail = stripe((lateral.abs() - 1.6).abs(), 0.72, 0.05, footprint);
                colour = colour.mix(paint(0.62, 0.62, 0.64), rail * 0.8);
            }
            colour = colour * (1.0 - 0.35 * stripe(kerb, -0.15, 0.15, footprint));
        }
        Surface::plain(colour, UP)
    }

    fn mark_colour(&self, lateral: f32, z: f32) -> Rgb {
        if self.yellow_line && lateral.abs() < 0.6 && self.stop_line_gap(z).is_some() {
            paint(0.85, 0.66, 0.10)
        } else {
            WHITE
        }
    }

    /// How much paint covers the spot (0..=1).
    fn marks(&self, lateral: f32, z: f32, footprint: f32, long: f32) -> f32 {
        let Some(edge) = self.stop_line_gap(z) else {
            return self.zebra(lateral, z, footprint, long);
        };
        if edge < 0.0 {
            return 0.0;
        }
        let dash = stripe(z.wrap(9.0), 4.5, 2.2, long);
        let mut mark: f32 = 0.0;
        if self.yellow_line {
            mark = mark.max(stripe(lateral.abs(), 0.16, 0.06, footprint));
        } else if !self.tram {
            mark = mark.max(stripe(lateral, 0.0, 0.07, footprint) * dash);
        }
        let lane = self.half_width / self.lanes_each_way as f32;
        for line in 1..self.lanes_each_way {
            mark = mark.max(stripe(lateral.abs(), lane * line as f32, 0.07, footprint) * dash);
        }
        let margin = self.margin(lateral);
        if margin.parking > 0.0 {
            let stall = stripe(z.wrap(6.0), 0.0, 0.06, long)
                * stripe(
                    lateral.abs(),
                    self.half_width + margin.parking * 0.5,
                    margin.parking * 0.5,
                    footprint,
                );
            mark = mark
                .max(
                    stripe(lateral.abs(), self.half_width, 0.06, footprint)
                        * stripe(z.wrap(1.5), 0.75, 0.4, long),
                )
                .max(stall);
        } else if self.lanes_each_way > 1 {
            mark = mark.max(stripe(lateral.abs(), self.half_width - 0.3, 0.07, footprint));
        }
        mark
    }

    /// Distance to the stop line when marks run here; `None` within the zebra's reach.
    fn stop_line_gap(&self, z: f32) -> Option<f32> {
        match self.junction {
            None => Some(1.0),
            Some(j) if z < j.near - 5.5 || z > j.far + 5.0 => Some(1.0),
            Some(j) if z > j.near - 0.5 && z < j.far + 0.5 => Some(-1.0),
            Some(_) => None,
        }
    }

    fn zebra(&self, lateral: f32, z: f32, footprint: f32, long: f32) -> f32 {
        let Some(j) = self.junction else { return 0.0 };
        if lateral.abs() > self.half_width - 0.2 {
            return 0.0;
        }
        let near = stripe(z, j.near - 2.6, 1.5, long).max(stripe(z, j.far + 2.6, 1.5, long));
        let bars = stripe(lateral.wrap(1.0), 0.5, 0.26, footprint) * near;
        let stop = if lateral > 0.0 {
            stripe(z, j.near - 5.0, 0.25, long)
        } else {
            0.0
        };
        bars.max(stop)
    }

    fn tar_look(&self, x: f32, z: f32, footprint: f32, long: f32) -> Rgb {
        let patch = if noise(x * 0.25, z * 0.07, self.salt ^ 1) > 0.68 {
            0.86
        } else {
            1.0
        };
        let grain = fine(x * 22.0, z * 22.0, self.salt, footprint.max(long * 0.4) * 22.0);
        let lane = self.half_width / self.lanes_each_way as f32;
        let track = stripe(
            (x.abs().wrap(lane) - lane * 0.5).abs(),
            0.75,
            0.32,
            footprint.max(0.25),
        );
        let stains = clouds(x * 0.35, z * 0.12, self.salt ^ 2);
        let crack = stripe(
            noise(x * 0.9, z * 0.35, self.salt ^ 3),
            0.5,
            0.008,
            0.012 + long * 0.2,
        ) * ramp(0.5, 0.1, long);
        let drain = if speck((z / 14.0).cell(), i32::from(x > 0.0), self.salt) < 0.4 {
            stripe(x, x.signum() * lane * 0.55, 0.32, footprint) * stripe(z.wrap(14.0), 7.0, 0.32, long)
        } else {
            0.0
        };
        let tone = patch
            * (0.72 + 0.35 * grain + 0.3 * stains - 0.10 * track)
            * (1.0 - 0.18 * crack)
            * (1.0 - 0.5 * drain);
        self.tar * tone
    }

    fn slabs_look(&self, x: f32, z: f32, footprint: f32, long: f32) -> Rgb {
        let joints = stripe(x.wrap(0.5), 0.0, 0.02, footprint).max(stripe(z.wrap(0.5), 0.0, 0.02, long));
        let slab = speck((x / 0.5).cell(), (z / 0.5).cell(), self.salt ^ 8) - 0.5;
        let slab = slab * ramp(0.5, 0.15, long);
        self.slabs
            * ((0.88 + 0.16 * slab + 0.22 * (clouds(x * 0.6, z * 0.4, self.salt ^ 9) - 0.5))
                * (1.0 - 0.3 * joints))
    }

    fn setts_look(&self, x: f32, z: f32, footprint: f32, long: f32) -> Rgb {
        let joints = stripe(x.wrap(0.2), 0.0, 0.015, footprint).max(stripe(z.wrap(0.2), 0.0, 0.015, long));
        self.tar.mix(paint(0.55, 0.42, 0.36), 0.45)
            * ((0.8 + 0.4 * clouds(x * 1.3, z * 1.3, self.salt ^ 12)) * (1.0 - 0.35 * joints))
    }

    fn grass_look(&self, at: V3, footprint: f32) -> Rgb {
        let blades = fine(at.x * 12.0, at.z * 5.0, self.salt ^ 4, footprint * 12.0);
        let bare = ramp(0.62, 0.78, clouds(at.x * 0.2, at.z * 0.2, self.salt ^ 6));
        let green = self.grass * (0.55 + 0.6 * blades + 0.35 * noise(at.x * 0.4, at.z * 0.25, self.salt ^ 7));
        green.mix(paint(0.48, 0.40, 0.30), bare * 0.8)
    }
}
