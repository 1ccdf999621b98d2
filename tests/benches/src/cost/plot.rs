//! The plot: a panel per stage, workers against images per second, both logarithmic.

use std::collections::BTreeMap;

use plotters::prelude::*;
use ulda_run::stage::Stage;

use super::constants::SHARE;
use super::hosts::{NODE_GIGABITS, Precision, cluster, cpu, h100, loopback};
use super::measured::Point;
use super::model::{Job, Scaling, step};
use super::network::Gathers;
use super::sizes::Sizes;
use super::table::as_read;
use crate::Failure;

const WIDTH: u32 = 1200;
/// Pixels for the title, for the panels, and for each line of the legend below them.
const HEAD: u32 = 74;
const PANELS: u32 = 840;
const ROW: u32 = 25;
const FONT: &str = "sans-serif";
/// Where the host's CPU prediction is drawn: the crop that was measured.
const CPU_CROP: f64 = 512.0;
/// Workers up to which it is drawn: the cores of that host.
const CPU_WORKERS: u32 = 2;
const MOST_WORKERS: u32 = 256;

const FAST: RGBColor = RGBColor(0, 90, 181);
const SLOW: RGBColor = RGBColor(213, 94, 0);
const READ: RGBColor = RGBColor(204, 51, 119);
const HOST: RGBColor = RGBColor(70, 70, 70);
const GPU_POINT: RGBColor = RGBColor(0, 130, 60);

/// A curve: what it is called, how it is drawn.
#[derive(Clone, Copy)]
struct Line {
    name: &'static str,
    colour: RGBColor,
    /// Pixels on and off; none for a solid line.
    dash: Option<(u32, u32)>,
    width: u32,
}

const LINES: [Line; 5] = [
    Line {
        name: "H100, weak scaling, 400 Gb/s per node: predicted, not measured",
        colour: FAST,
        dash: None,
        width: 3,
    },
    Line {
        name: "H100, weak scaling, 100 Gb/s per node: predicted, not measured",
        colour: SLOW,
        dash: Some((9, 5)),
        width: 2,
    },
    Line {
        name: "H100, strong scaling (the published batch is cut), 400 Gb/s: predicted, not measured",
        colour: FAST,
        dash: Some((3, 4)),
        width: 2,
    },
    Line {
        name: "H100, weak, 400 Gb/s, on hosts with only 4 decoder threads per GPU: predicted, not measured",
        colour: READ,
        dash: Some((12, 3)),
        width: 2,
    },
    Line {
        name: "CPU, one thread per worker, crop 512 (evaluate: 1024x512, one head): calibrated on one step, see page",
        colour: HOST,
        dash: None,
        width: 2,
    },
];

type Curve = Vec<(f64, f64)>;

/// The plot as SVG.
///
/// # Errors
/// When the drawing backend refuses, which it has no reason to.
pub fn draw(sizes: &Sizes, points: &[Point]) -> Result<String, Failure> {
    let mut svg = String::new();
    let series = series(points);
    let foot = ROW * (LINES.len() + series.len() + 1) as u32;
    {
        let size = (WIDTH, HEAD + PANELS + foot);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, rest) = root.split_vertically(HEAD);
        let (body, foot) = rest.split_vertically(PANELS);
        head.draw(&Text::new(
            "Images per second by number of workers",
            (24, 14),
            (FONT, 24).into_font().color(&BLACK),
        ))?;
        let so_far = if points.iter().all(Point::on_cpu) {
            "No GPU has been measured; filled marks"
        } else {
            "Filled marks"
        };
        head.draw(&Text::new(
            format!(
                "RN50, crop 768 (evaluate: 2048x1024, 3 heads), TF32 at {:.0} % of peak, 8 GPUs per node on NVLink. {so_far} are measurements.",
                SHARE.value * 100.0
            ),
            (24, 48),
            (FONT, 15).into_font().color(&BLACK),
        ))?;
        let panels = body.split_evenly((2, 2));
        for (stage, panel) in Stage::ALL.into_iter().zip(&panels) {
            draw_panel(panel, stage, sizes, points)?;
        }
        draw_legend(&foot, series)?;
        root.present()?;
    }
    Ok(svg)
}

fn curves(stage: Stage, sizes: &Sizes) -> [Curve; 5] {
    let job = Job::published(stage);
    let gpu = h100(Precision::Tf32, SHARE.value);
    let [slow, fast] = NODE_GIGABITS.map(|gigabits| cluster(gigabits, Gathers::Mesh));
    let workers = || (0..=MOST_WORKERS.ilog2()).map(|power| 1u32 << power);
    let on_gpus = |scaling, network, read: bool| -> Curve {
        workers()
            .map(|count| {
                let step = step(&job, scaling, count, &gpu, network, sizes);
                let images = if read {
                    as_read(&job, &step)
                } else {
                    step.images_per_second()
                };
                (f64::from(count), images)
            })
            .collect()
    };
    let small = Job {
        pixels: CPU_CROP * CPU_CROP * if stage == Stage::Evaluate { 2.0 } else { 1.0 },
        heads: 1,
        ..job
    };
    let on_host = (1..=CPU_WORKERS).map(|count| {
        let step = step(&small, Scaling::Weak, count, &cpu(), &loopback(), sizes);
        (f64::from(count), step.images_per_second())
    });
    [
        on_gpus(Scaling::Weak, &fast, false),
        on_gpus(Scaling::Weak, &slow, false),
        on_gpus(Scaling::Strong, &fast, false),
        on_gpus(Scaling::Weak, &fast, true),
        on_host.collect(),
    ]
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(panel: &Area<'_>, stage: Stage, sizes: &Sizes, points: &[Point]) -> Result<(), Failure> {
    let curves = curves(stage, sizes);
    let mine: Vec<&Point> = points
        .iter()
        .filter(|point| point.stage() == Some(stage))
        .collect();
    let heights = curves.iter().flatten().map(|(_, images)| *images);
    let heights: Vec<f64> = heights
        .chain(mine.iter().map(|point| as_published(point)))
        .collect();
    let least = heights.iter().copied().fold(f64::INFINITY, f64::min);
    let most = heights.iter().copied().fold(0.0, f64::max);
    let decades = 10f64.powf(least.log10().floor())..10f64.powf(most.log10().ceil());
    let unit = if stage == Stage::Simulate {
        "images/s, all 6 domains and 100 iterations done"
    } else {
        "images/s"
    };
    let mut chart = ChartBuilder::on(panel)
        .margin(12)
        .margin_right(28)
        .caption(stage.name(), (FONT, 20).into_font().color(&BLACK))
        .x_label_area_size(46)
        .y_label_area_size(72)
        .build_cartesian_2d((0.8f64..330.0).log_scale().base(2.0), decades.log_scale())?;
    chart
        .configure_mesh()
        .bold_line_style(RGBColor(205, 205, 205))
        .light_line_style(RGBColor(238, 238, 238))
        .axis_style(BLACK)
        .x_desc("workers (one GPU, or one CPU thread, each)")
        .y_desc(unit)
        .x_labels(MOST_WORKERS.ilog2() as usize + 1)
        .x_max_light_lines(1)
        .y_max_light_lines(5)
        .x_label_formatter(&|count| format!("{count:.0}"))
        .y_label_formatter(&|images| decimal(*images))
        .label_style((FONT, 14).into_font().color(&BLACK))
        .axis_desc_style((FONT, 15).into_font().color(&BLACK))
        .draw()?;
    for (line, curve) in LINES.iter().zip(curves) {
        let style = line.colour.stroke_width(line.width);
        match line.dash {
            None => chart.draw_series(LineSeries::new(curve, style))?,
            Some((on, off)) => chart.draw_series(DashedLineSeries::new(curve, on, off, style))?,
        };
    }
    for point in mine {
        let place = (f64::from(point.workers), as_published(point));
        let colour = point_colour(point);
        if point.on_cpu() {
            chart.draw_series([Circle::new(place, 6, colour.filled())])?;
        } else {
            chart.draw_series([TriangleMarker::new(place, 8, colour.filled())])?;
        }
    }
    Ok(())
}

/// Simulate's work is proportional to domains and iterations; the panel shows the published numbers of both.
fn as_published(point: &Point) -> f64 {
    let job = Job::published(Stage::Simulate);
    if point.stage() != Some(Stage::Simulate) {
        return point.images_per_second;
    }
    let share = f64::from(point.domains * point.iterations) / f64::from(job.domains * job.iterations);
    point.images_per_second * share
}

fn point_colour(point: &Point) -> RGBColor {
    if point.on_cpu() { HOST } else { GPU_POINT }
}

fn decimal(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.*}", (-value.log10()).round() as usize)
    }
}

/// One point of each series, by the series' name; the stages' points are alike.
fn series(points: &[Point]) -> BTreeMap<String, &Point> {
    let mut series = BTreeMap::new();
    for point in points {
        let name = format!("measured: {}, {}, {}", point.device, point.precision, point.date);
        series.entry(name).or_insert(point);
    }
    series
}

fn draw_legend(foot: &Area<'_>, series: BTreeMap<String, &Point>) -> Result<(), Failure> {
    let text = (FONT, 15).into_font().color(&BLACK);
    let mut row = 16;
    for line in LINES {
        let style = line.colour.stroke_width(line.width);
        let (start, end) = (30, 84);
        let (on, off) = line
            .dash
            .map_or((end - start, 0), |(on, off)| (on as i32, off as i32));
        let mut x = start;
        while x < end {
            foot.draw(&PathElement::new([(x, row), ((x + on).min(end), row)], style))?;
            x += on + off.max(1);
        }
        foot.draw(&Text::new(line.name, (98, row - 6), text.clone()))?;
        row += ROW as i32;
    }
    for (name, point) in series {
        if point.on_cpu() {
            foot.draw(&Circle::new((57, row), 6, point_colour(point).filled()))?;
        } else {
            foot.draw(&TriangleMarker::new((57, row), 8, point_colour(point).filled()))?;
        }
        foot.draw(&Text::new(name, (98, row - 6), text.clone()))?;
        row += ROW as i32;
    }
    Ok(())
}
