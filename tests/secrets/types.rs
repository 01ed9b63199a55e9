//! Types that hold secrets: which of `Debug`, `Clone` and `Serialize` they have, and what `Debug` prints.

use heq_he::client::SecretKey;
use heq_he::product::{RequestBlock, WeightRow};
use heq_he::server::Request;
use heq_ir::plan::weights::{LinearWeights, ServerWeights, TableEntries, WeightsSpec};
use heq_net::tls::{Authority, ClientTls, Identity, ServerTls};
use heq_ot::softspoken::Delta;
use heq_ot::{Block, ChoiceBits, RotReceiverBatch, RotSenderBatch, base, silent, softspoken};
use heq_runtime::offline::Store;
use heq_runtime::protocol::linear::PreparedWeights;
use heq_runtime::session::{PreparedServer, Session};
use heq_runtime::share::Plane;
use serde::Serialize;
use std::fmt::{Debug, Display};

/// Whether a type has a trait: the constant of the type itself, which is there if it does, comes before that
/// of the trait.
macro_rules! has {
    ($type:ty: $trait:path) => {{
        #[allow(dead_code, reason = "used by types that lack the trait")]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "used by types that have the trait")]
        impl<T: ?Sized + $trait> Probe<T> {
            const HAS: bool = true;
        }
        <Probe<$type>>::HAS
    }};
}

macro_rules! traits {
    ($($type:ty),* $(,)?) => {
        [$((stringify!($type), has!($type: Clone), has!($type: Debug), has!($type: Display), has!($type: Serialize))),*]
    };
}

#[test]
fn the_probe_tells_traits_apart() {
    struct Bare;
    let _bare = Bare;
    assert_eq!(traits![u64, Bare].map(|(_, c, d, p, s)| [c, d, p, s]), [[true; 4], [false; 4]]);
}

#[test]
fn secrets_that_nothing_prints_have_no_debug() {
    let types = traits![
        Authority,
        base::Sender,
        PreparedServer,
        Session<'static>,
        Store,
        silent::Receiver,
        silent::Sender,
        softspoken::Receiver,
        softspoken::Sender,
    ];
    for (name, clone, debug, display, serialize) in types {
        assert!(!clone && !debug && !display && !serialize, "{name}");
    }
}

#[test]
fn secrets_cannot_be_copied_or_serialized() {
    let types = traits![
        Delta,
        Identity,
        PreparedWeights,
        Request,
        RequestBlock,
        RotReceiverBatch,
        RotSenderBatch,
        SecretKey,
        WeightRow,
    ];
    for (name, clone, _, display, serialize) in types {
        assert!(!clone && !display && !serialize, "{name}");
    }
    // These are copied as the protocol needs it, within a party; only weights have a file.
    for (name, _, _, display, serialize) in
        traits![Block, ChoiceBits, ClientTls, Plane, ServerTls, ServerWeights]
    {
        assert!(!display && !serialize, "{name}");
    }
}

#[test]
fn redacted_debug_has_no_value() {
    let canary = 424_242;
    let layer =
        LinearWeights { weights: vec![canary; 4], multipliers: vec![424_242], bias: vec![424_242] };
    let tables = TableEntries { entries: vec![242; 3] };
    let spec = WeightsSpec {
        plan: heq_ir::plan::PlanDigest([0; 32]),
        layers: vec![layer.clone()],
        tables: vec![tables.clone()],
    };
    let [choices, block] =
        [ChoiceBits::from_words(vec![424_242], 64), ChoiceBits::from_words(vec![0], 64)]
            .map(|bits| format!("{bits:?}"));
    assert_eq!(choices, block, "it depends on the bits");
    let plane = format!("{:?}", Plane::from_bits(64, (0..64).map(|i| 424_242 >> i & 1)));
    assert_eq!(plane, format!("{:?}", Plane::zeros(64)), "it depends on the bits");
    let texts = [
        format!("{layer:?}"),
        format!("{tables:?}"),
        format!("{spec:?}"),
        format!("{:?}", Block::new(424_242)),
    ];
    for text in texts {
        let shown = text.to_lowercase();
        assert!(!["424242", "67932", "242"].iter().any(|digits| shown.contains(digits)), "{text}");
    }
}
