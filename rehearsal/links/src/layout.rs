//! Which regions can be lost, and whether the layout is what the guide asks for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The validators of one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionLayout {
    /// The region's name.
    pub region: String,
    /// The continent it lies on.
    pub continent: String,
    /// Voting power of each validator there.
    pub validators: Vec<u64>,
}

/// The layout against guide sections 1.3 and 3.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutCheck {
    /// Validators in all.
    pub validators: u64,
    /// Voting power in all.
    pub total_power: u128,
    /// `floor(2T/3) + 1`.
    pub quorum_power: u128,
    /// Validators that may fail in any way, by count.
    pub tolerated: u64,
    /// At least three regions with validators, on at least two continents.
    pub is_spread: bool,
    /// At least two regions with two validators or more.
    pub is_redundant: bool,
    /// `n >= 3f + 1` with f of at least one, by count.
    pub is_enough_by_count: bool,
    /// The `tolerated` most powerful validators together leave a quorum to the others.
    pub is_enough_by_power: bool,
    /// What the loss of each single region does.
    pub losses: Vec<RegionLoss>,
    /// What is not as the guide asks, one sentence each; empty when all is.
    pub faults: Vec<String>,
}

/// What is left when one region is gone. Shown, not failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionLoss {
    /// The region that is gone.
    pub region: String,
    /// Voting power left.
    pub power_left: u128,
    /// Whether that is still a quorum; if not, the chain halts until the region is back.
    pub keeps_quorum: bool,
}

/// Checks a layout of validators over regions.
pub fn check_layout(regions: &[RegionLayout]) -> LayoutCheck {
    let populated = || regions.iter().filter(|region| !region.validators.is_empty());
    let sum = |powers: &[u64]| powers.iter().map(|power| u128::from(*power)).sum::<u128>();
    let mut powers: Vec<u64> =
        regions.iter().flat_map(|region| region.validators.iter().copied()).collect();
    powers.sort_unstable_by(|a, b| b.cmp(a));
    let count = powers.len();
    let total = sum(&powers);
    let quorum = total * 2 / 3 + 1;
    let tolerated = count.saturating_sub(1) / 3;
    let continents: BTreeSet<&str> = populated().map(|region| region.continent.as_str()).collect();
    let region_count = populated().count();
    let with_two = regions.iter().filter(|region| region.validators.len() >= 2).count();
    let left = total - sum(&powers[..tolerated]);
    let mut faults = Vec::new();
    let is_spread = region_count >= 3 && continents.len() >= 2;
    if !is_spread {
        let on = continents.len();
        faults.push(format!(
            "{region_count} regions with validators on {on} continents; the guide asks for 3 on 2"
        ));
    }
    if with_two < 2 {
        faults.push(format!("{with_two} regions have 2 validators or more; the guide asks for 2"));
    }
    if tolerated == 0 {
        faults.push(format!("{count} validators tolerate no fault; n >= 3f + 1 needs 4 for f = 1"));
    }
    let is_enough_by_power = left >= quorum;
    if !is_enough_by_power {
        faults.push(format!(
            "without the {tolerated} most powerful validators {left} of {total} power are left, \
             and the quorum is {quorum}"
        ));
    }
    LayoutCheck {
        validators: count as u64,
        total_power: total,
        quorum_power: quorum,
        tolerated: tolerated as u64,
        is_spread,
        is_redundant: with_two >= 2,
        is_enough_by_count: tolerated >= 1,
        is_enough_by_power,
        losses: populated()
            .map(|region| {
                let power_left = total - sum(&region.validators);
                let keeps_quorum = power_left >= quorum;
                RegionLoss { region: region.region.clone(), power_left, keeps_quorum }
            })
            .collect(),
        faults,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(counts: &[(&str, usize)]) -> Vec<RegionLayout> {
        let names = ["A", "B", "C", "D"];
        counts
            .iter()
            .zip(names)
            .map(|((continent, count), name)| RegionLayout {
                region: name.into(),
                continent: (*continent).into(),
                validators: vec![100; *count],
            })
            .collect()
    }

    fn halting(check: &LayoutCheck) -> Vec<&str> {
        let lost = check.losses.iter().filter(|loss| !loss.keeps_quorum);
        lost.map(|loss| loss.region.as_str()).collect()
    }

    #[test]
    fn three_two_two_halts_only_without_its_largest_region() {
        let check = check_layout(&regions(&[("eu", 3), ("na", 2), ("as", 2)]));
        assert!(check.faults.is_empty(), "{:?}", check.faults);
        assert_eq!((check.quorum_power, check.tolerated), (467, 2));
        assert_eq!(halting(&check), ["A"]);
    }

    #[test]
    fn two_two_two_one_over_four_regions_survives_any() {
        let check = check_layout(&regions(&[("eu", 2), ("na", 2), ("as", 2), ("sa", 1)]));
        assert!(check.faults.is_empty() && halting(&check).is_empty());
    }

    #[test]
    fn each_rule_can_fail_by_itself() {
        let faults = |counts: &[(&str, usize)]| check_layout(&regions(counts)).faults.len();
        assert_eq!(faults(&[("eu", 3), ("eu", 2), ("eu", 2)]), 1, "one continent");
        assert_eq!(faults(&[("eu", 4), ("na", 3)]), 1, "two regions");
        assert_eq!(faults(&[("eu", 5), ("na", 1), ("as", 1)]), 1, "one region of two");
        assert_eq!(faults(&[("eu", 1), ("na", 1), ("as", 1)]), 2, "no fault tolerated");
        let mut heavy = regions(&[("eu", 3), ("na", 2), ("as", 2)]);
        heavy[1].validators[0] = 1_000;
        let check = check_layout(&heavy);
        assert!(check.is_enough_by_count && !check.is_enough_by_power);
        assert_eq!(check_layout(&[]).losses, []);
        let huge = vec![u64::MAX; 5];
        heavy[0].validators = huge;
        check_layout(&heavy);
    }
}
