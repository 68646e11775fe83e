//! The simulator's command line.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let kind = reprise_sim::plan::Kind::of_name(&args[1]).unwrap();
    let from: u64 = args[2].parse().unwrap();
    let count: u64 = args[3].parse().unwrap();
    let story = args.len() > 4;
    for seed in from..from + count {
        let plan = reprise_sim::scenario::plan(seed, kind);
        let options = reprise_sim::world::Options { story, logs: story };
        let t = std::time::Instant::now();
        let outcome = reprise_sim::world::run(&plan, options);
        if story {
            println!("{}", plan.describe());
            for l in &outcome.story {
                println!("{l}");
            }
        }
        println!(
            "{} -> {:?} lasted {:.1}s events {} fates {:?} decided {:?} reigns {} faults {} rec {:?} trace {:x} in {:?}",
            plan.summary(),
            outcome
                .violations
                .iter()
                .map(|v| v.invariant)
                .collect::<Vec<_>>(),
            outcome.lasted as f64 / 1e6,
            outcome.events,
            outcome.fates,
            outcome.decided,
            outcome.reigns,
            outcome.faults,
            outcome.recovered_in,
            outcome.trace,
            t.elapsed()
        );
        for v in &outcome.violations {
            println!(
                "  {} at {}: {}",
                v.invariant,
                v.at,
                v.text
                    .lines()
                    .take(if story { 200 } else { 6 })
                    .collect::<Vec<_>>()
                    .join("\n   ")
            );
        }
    }
}
