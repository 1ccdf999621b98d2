//! Style health among the metrics of a journal: `style.<measure>.<domain>`.

use std::collections::BTreeMap;

use ulda_run::style_health::StyleHealth;

use super::MetricPoint;

/// The metric under which a measure of a domain's styles is noted.
#[must_use]
pub fn style_metric(domain: &str, measure: &str) -> String {
    format!("style.{measure}.{domain}")
}

/// Mean over the rounds of what simulate noted of a domain's styles; `None` where it learned none.
#[must_use]
pub fn styles_of(domain: &str, metrics: &BTreeMap<String, Vec<MetricPoint>>) -> Option<StyleHealth> {
    StyleHealth::from_measures(|measure| {
        let points = metrics.get(&style_metric(domain, measure))?;
        let values: Vec<f64> = points.iter().filter_map(|point| point.value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noted_measures_are_averaged_over_rounds() {
        let point = |step, value| MetricPoint { step, value };
        let mut metrics = BTreeMap::new();
        let health = StyleHealth {
            near_zero: 0.25,
            ..StyleHealth::default()
        };
        for (measure, value) in health.measures() {
            let points = vec![point(1, Some(value)), point(2, Some(value + 0.5)), point(3, None)];
            metrics.insert(style_metric("fog", measure), points);
        }
        let mean = styles_of("fog", &metrics).unwrap();
        assert_eq!(
            (mean.near_zero, mean.scene_loss, mean.reference),
            (0.5, 0.25, None)
        );
        assert_eq!(styles_of("night", &metrics), None);
    }
}
