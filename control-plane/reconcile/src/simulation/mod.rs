//! Rollouts under adversity: controllers act on caches that lag behind the truth, per kind, in any order.

mod acts;
mod shelf;
mod world;

use proptest::prelude::*;

use world::{Kind, World};

/// One thing that may happen next.
#[derive(Clone, Debug)]
enum Happening {
    /// A cache sees one more event.
    See(Kind),
    /// The Deployment controller runs.
    Deploy,
    /// The ReplicaSet controller runs for one of the sets.
    Size(usize),
    /// One of the running pods becomes ready.
    Ready(usize),
    /// One of the terminating pods is gone.
    Vanish(usize),
    /// The user changes the template.
    Retemplate,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(Happening::See(Kind::Deployment)),
        6 => Just(Happening::See(Kind::Set)),
        8 => Just(Happening::See(Kind::Pod)),
        4 => Just(Happening::Deploy),
        6 => (0..8_usize).prop_map(Happening::Size),
        4 => (0..16_usize).prop_map(Happening::Ready),
        4 => (0..16_usize).prop_map(Happening::Vanish),
        1 => Just(Happening::Retemplate),
    ]
}

fn happen(world: &mut World, happening: &Happening) {
    match happening {
        Happening::See(kind) => world.see(*kind),
        Happening::Deploy => world.deploy(),
        Happening::Size(index) => world.size(*index),
        Happening::Ready(index) => world.ready(*index),
        Happening::Vanish(index) => world.vanish(*index),
        Happening::Retemplate => world.retemplate(),
    }
}

/// Lets everything run until nothing changes.
fn calm_down(world: &mut World) {
    for _ in 0..400 {
        let before = world.revision();
        world.see_all();
        world.deploy();
        world.see_all();
        (0..world.set_count()).for_each(|index| world.size(index));
        world.see_all();
        while world.pods_to_ready() > 0 {
            world.ready(0);
        }
        while world.pods_to_vanish() > 0 {
            world.vanish(0);
        }
        if world.revision() == before {
            return;
        }
    }
    panic!("the rollout never comes to rest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rollout_stays_within_its_budget_and_arrives(
        desired in 1..6_i32,
        surge in 0..3_i32,
        unavailable in 0..3_i32,
        happenings in prop::collection::vec(happening(), 0..250),
    ) {
        let mut world = World::new(desired, surge, unavailable.max(i32::from(surge == 0)));
        calm_down(&mut world);
        prop_assert_eq!(world.available(), desired);
        world.retemplate();
        for happening in &happenings {
            happen(&mut world, happening);
            let (sized, most) = (world.sized_for(), desired + surge);
            prop_assert!(sized <= most, "{} replicas asked for, {} allowed, after {:?}", sized, most, happening);
            let least = desired - unavailable.max(i32::from(surge == 0)).min(desired);
            let available = world.available();
            prop_assert!(available >= least, "{} available, {} promised, after {:?}", available, least, happening);
        }
        calm_down(&mut world);
        prop_assert_eq!(world.available(), desired);
        prop_assert_eq!(world.current_pods(), desired, "all pods are of the last template");
        prop_assert_eq!(world.progress(), Some("NewReplicaSetAvailable".to_owned()));
    }

    #[test]
    fn a_late_cache_never_makes_pods_twice(
        desired in 1..6_i32,
        happenings in prop::collection::vec(happening(), 0..250),
    ) {
        let mut world = World::new(desired, 1, 0);
        // `World::size` asserts after each batch that no set holds more active pods than it asked for.
        happenings.iter().for_each(|happening| happen(&mut world, happening));
        calm_down(&mut world);
        prop_assert_eq!(world.available(), desired);
    }
}
