//! The limit of open files, in a process of its own: no other test shares this binary.

use portcullis_serve::{inherited_soft_limit, raise_descriptor_limit};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn the_soft_limit_becomes_the_hard_one_and_is_remembered() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let low = Rlimit {
        current: Some(64),
        maximum: hard,
    };
    setrlimit(Resource::Nofile, low).unwrap();
    assert_eq!(inherited_soft_limit(), None);
    let raised = raise_descriptor_limit().unwrap();
    assert_eq!((raised.was, raised.is), (Some(64), hard));
    assert_eq!(getrlimit(Resource::Nofile).current, hard);
    raise_descriptor_limit().unwrap();
    assert_eq!(inherited_soft_limit(), Some(64));
}
