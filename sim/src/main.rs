//! temporary
use anabranch_sim::{Options, run};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let to: u64 = args[2].parse().unwrap();
    let mut total = anabranch_sim::Tally::default();
    for seed in from..to {
        let mut options = Options::new(seed);
        if args.len() > 3 {
            options.sink = Some(|l| {
                println!(
                    "{:>10} {} {}",
                    l.at_us,
                    l.site.map_or('-', anabranch_sim::site_name),
                    l.text
                )
            });
        }
        let o = run(options);
        total.add(&o.tally);
        if let Some(v) = o.violation {
            println!(
                "seed {seed}: {}: {}",
                v.promise,
                &v.found[..v.found.len().min(400)]
            );
        }
    }
    println!("{total:#?}");
}
