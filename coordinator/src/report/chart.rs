//! Line charts as inline SVG: axes, grid, legend, the raw values thin and their smoothed course thick.

use maud::{Markup, html};

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 36.0;
/// More points than this are drawn as the means of as many buckets.
const POINTS: usize = 360;

/// One line; `None` values are gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, Option<f64>)>,
}

/// How the values of a chart are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawing {
    /// Raw thin, smoothed thick.
    Smoothed,
    /// As they are.
    Plain,
    /// As they are, each marked.
    Marked,
}

/// A chart with one or more series over the same axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    pub title: String,
    pub x_label: String,
    pub series: Vec<Series>,
    pub drawing: Drawing,
}

struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// Ends where the values end, with ticks at round numbers before.
    fn up_to(values: impl Iterator<Item = f64>, wanted: usize) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut axis = Self::over(values.into_iter(), wanted, true)?;
        if high > axis.low {
            axis.high = high;
            axis.ticks.retain(|tick| *tick <= high);
        }
        Some(axis)
    }

    /// Covers the values with ticks at round numbers.
    fn over(values: impl Iterator<Item = f64>, wanted: usize, starts_at_zero: bool) -> Option<Self> {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if !low.is_finite() || !high.is_finite() {
            return None;
        }
        let low = if starts_at_zero { low.min(0.0) } else { low };
        let high = if high > low {
            high
        } else {
            low + low.abs().max(1e-9) * 0.1
        };
        let step = round_step((high - low) / wanted as f64);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks: Vec<f64> = (0..=((last - first) as u32))
            .map(|index| (first + f64::from(index)) * step)
            .collect();
        Some(Self {
            low: first * step,
            high: last * step,
            ticks,
        })
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999_999)
        .unwrap_or(power)
}

/// A tick as short as it can be told apart.
fn tick_text(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if size >= 1e6 {
        format!("{:.1}M", value / 1e6)
    } else if size >= 1e4 {
        format!("{}k", trimmed(value / 1e3, 1))
    } else if size < 1e-3 {
        format!("{value:.0e}")
    } else {
        trimmed(value, 4)
    }
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Centred moving average over about a fifteenth of the points; a gap stays a gap.
fn smoothed(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let reach = points.len() / 30;
    let mean_around = |index: usize| {
        // Near the ends the window shrinks to stay centred, but not so far that the ends show the noise.
        let (before, after) = (index, points.len() - 1 - index);
        let reach = reach.min(before).min(after).max(reach / 2);
        let near = &points[index - reach.min(before)..=index + reach.min(after)];
        let known = near.iter().filter_map(|(_, value)| *value);
        let (count, sum) = known.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
        sum / count
    };
    points
        .iter()
        .enumerate()
        .map(|(index, (x, value))| (*x, value.map(|_| mean_around(index))))
        .collect()
}

/// Means of equal buckets, so that long curves stay small; the last point is kept.
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    points
        .chunks(points.len().div_ceil(POINTS))
        .map(|bucket| {
            let values: Vec<f64> = bucket.iter().filter_map(|(_, value)| *value).collect();
            let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
            (bucket[bucket.len() - 1].0, mean)
        })
        .collect()
}

impl Chart {
    /// The chart as markup; a sentence when there is nothing to draw.
    #[must_use]
    pub fn render(&self) -> Markup {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let known = || all().filter(|(_, value)| value.is_some_and(f64::is_finite));
        let positive = known().all(|(_, value)| value.unwrap_or(0.0) >= 0.0);
        let x = Axis::up_to(known().map(|(x, _)| *x), 5);
        let y = Axis::over(known().filter_map(|(_, value)| *value), 4, positive);
        let (Some(x), Some(y)) = (x, y) else {
            return html! { figure.chart { figcaption { (self.title) } p.note { "no finite values" } } };
        };
        let left = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
        let top = |value: f64| TOP + (1.0 - y.share(value)) * (HEIGHT - TOP - BOTTOM);
        let path = |points: &[(f64, Option<f64>)]| path_of(points, &left, &top);
        html! {
            figure.chart {
                figcaption { (self.title) (self.legend()) }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                    @for tick in &y.ticks {
                        line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(num(top(*tick))) y2=(num(top(*tick))) {}
                        text.tick x=(LEFT - 6.0) y=(num(top(*tick) + 3.5)) text-anchor="end" { (tick_text(*tick)) }
                    }
                    @for tick in &x.ticks {
                        line.tickmark x1=(num(left(*tick))) x2=(num(left(*tick))) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM + 4.0) {}
                        text.tick x=(num(left(*tick))) y=(HEIGHT - BOTTOM + 15.0) text-anchor="middle" { (tick_text(*tick)) }
                    }
                    line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
                    text.label x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 4.0) text-anchor="middle" { (self.x_label) }
                    @for (index, series) in self.series.iter().enumerate() {
                        g.series.{ "s" (index % 6) } {
                            @match self.drawing {
                                Drawing::Smoothed => {
                                    path.raw d=(path(&thinned(&series.points))) {}
                                    path.line d=(path(&smoothed(&thinned(&series.points)))) {}
                                }
                                Drawing::Plain => { path.line d=(path(&thinned(&series.points))) {} }
                                Drawing::Marked => {
                                    path.line d=(path(&series.points)) {}
                                    @for (x, value) in &series.points {
                                        @if let Some(value) = value {
                                            circle cx=(num(left(*x))) cy=(num(top(*value))) r="3" {
                                                title { (series.name) " at " (x) ": " (trimmed(*value, 4)) }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn legend(&self) -> Markup {
        html! {
            @if self.drawing == Drawing::Smoothed || self.series.len() > 1 {
                span.legend {
                    @if self.series.len() > 1 {
                        @for (index, series) in self.series.iter().enumerate() {
                            span.key.{ "s" (index % 6) } { (series.name) }
                        }
                    } @else {
                        span.key.thin.s0 { "each step" }
                        span.key.s0 { "smoothed" }
                    }
                }
            }
        }
    }
}

fn num(value: f64) -> String {
    format!("{value:.1}")
}

fn path_of(points: &[(f64, Option<f64>)], left: &impl Fn(f64) -> f64, top: &impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (x, value) in points {
        match value.filter(|value| value.is_finite()) {
            Some(value) => {
                path.push_str(&format!(
                    "{}{:.1} {:.1}",
                    if pen_down { "L" } else { "M" },
                    left(*x),
                    top(value)
                ));
                pen_down = true;
            }
            None => pen_down = false,
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let axis = Axis::over([0.13, 2.7].into_iter(), 4, true).unwrap();
        assert_eq!((axis.low, axis.high), (0.0, 3.0));
        assert_eq!(axis.ticks.len(), 4);
        assert_eq!(
            [0.0, 0.25, 1e-4, 20_000.0, 2e6, 150.0].map(tick_text),
            ["0", "0.25", "1e-4", "20k", "2.0M", "150"]
        );
        let flat = Axis::over([5.0].into_iter(), 4, false).unwrap();
        assert!(flat.high > flat.low);
    }

    #[test]
    fn gaps_break_the_line_and_long_curves_are_thinned() {
        let chart = |points| Chart {
            title: "t".into(),
            x_label: "step".into(),
            series: vec![Series {
                name: "a".into(),
                points,
            }],
            drawing: Drawing::Plain,
        };
        let gap = chart(vec![(1.0, Some(1.0)), (2.0, None), (3.0, Some(2.0))])
            .render()
            .into_string();
        assert_eq!(gap.matches('M').count(), 2, "{gap}");
        let none = chart(vec![(1.0, None)]).render().into_string();
        assert!(none.contains("no finite values"));
        let long = chart(
            (0..10_000)
                .map(|x| (f64::from(x), Some(1.0 / f64::from(x + 1))))
                .collect(),
        )
        .render()
        .into_string();
        assert!(long.len() < 12_000, "{}", long.len());
    }

    #[test]
    fn smoothing_of_a_constant_is_the_constant() {
        let points: Vec<_> = (0..100).map(|x| (f64::from(x), Some(3.0))).collect();
        assert!(
            smoothed(&points)
                .iter()
                .all(|(_, value)| (value.unwrap() - 3.0).abs() < 1e-12)
        );
    }
}
