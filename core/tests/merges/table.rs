//! The types, with the states from which each starts and the edits that are combined.
//!
//! Elements of lists and characters are different from writer to writer, so that a person who reads a
//! failure, and the model, can tell them apart.

use crate::cases::Group;

macro_rules! check {
    ($name:ident, threes $threes:literal, starts $starts:expr, edits $edits:expr) => {
        #[test]
        fn $name() {
            let group = Group {
                name: stringify!($name),
                starts: &$starts,
                edits: &$edits,
                in_threes: $threes,
            };
            group.check();
        }
    };
}

check!(registers, threes 6,
    starts [
        &[],
        &["A put /x \"s\""],
        &["A put /x \"s\"", "A remove /x"],
        &["A PUT {\"x\":\"s\"}"],
        &["A put /x 5"],
        &["A put /x \"p\"", "B put /x \"q\""],
        &["A put /x 7", "B put /x 8"],
    ],
    edits [
        "put /x \"@\"", "remove /x", "put /x #", "DELETE", "PUT {\"x\":\"@\"}", "put /x \"s\"", "put /x 2.5",
        "put /x null", "PUT {}", "put /x 5.0", "put /x false",
        "put /x \"@\"; remove /x", "remove /x; put /x \"s\"",
    ]
);

check!(counters, threes 6,
    starts [
        &[],
        &["A increment /n 5"],
        &["A increment /n 5", "A remove /n"],
        &["A PUT {\"n\":5}"],
        &["A increment /n 5", "B increment /n 6"],
        &["A put /n 5", "B increment /n 6"],
        &["A put /n 2.5"],
    ],
    edits [
        "increment /n 2", "remove /n", "put /n #0", "increment /n -1", "put /n \"@\"", "DELETE", "PUT {\"n\":5}",
        "increment /n 0", "adjust /n 3", "put /n 5", "PUT {\"n\":#0}", "PUT {}",
        "remove /n; increment /n 2", "increment /n 2; remove /n",
    ]
);

check!(quantities, threes 6,
    starts [
        &[],
        &["A adjust /n 5"],
        &["A adjust /n 5", "A remove /n"],
        &["A PUT {\"n\":5}"],
        &["A adjust /n 5", "B adjust /n 6"],
        &["A put /n 5", "B put /n 7", "C adjust /n 1"],
        &["A adjust /n 5", "B increment /n 6"],
    ],
    edits [
        "adjust /n 2", "remove /n", "put /n #0", "adjust /n -7", "DELETE", "increment /n 3", "PUT {\"n\":5}",
        "adjust /n 0", "put /n \"@\"", "put /n 12", "PUT {}",
        "remove /n; adjust /n 2", "adjust /n 2; remove /n", "remove /n; put /n #0",
    ]
);

check!(sets, threes 6,
    starts [
        &[],
        &["A set_add /s \"p\""],
        &["A set_add /s \"p\"", "A set_add /s \"x\"", "A set_remove /s \"p\""],
        &["A set_add /s \"x\"", "A remove /s"],
        &["A PUT {\"s\":[\"p\"]}"],
        &["A set_add /s \"p\"", "B set_add /s \"x\""],
    ],
    edits [
        "set_add /s \"x\"", "set_remove /s \"x\"", "remove /s", "set_add /s \"@\"", "put /s [\"p\",\"x\"]", "DELETE", "set_remove /s \"p\"",
        "put /s []", "set_add /s 1", "set_add /s 1.0", "set_remove /s 1", "put /s \"@\"", "PUT {\"s\":[]}",
        "set_add /s {\"b\":[1.0],\"a\":null}", "set_add /s false",
        "set_add /s \"x\"; remove /s", "remove /s; set_add /s \"x\"", "set_add /s \"x\"; set_remove /s \"x\"",
    ]
);

check!(maps, threes 6,
    starts [
        &[],
        &["A put /m/a 1"],
        &["A put /m/a 1", "A remove /m"],
        &["A put /m/a 1", "A remove /m/a"],
        &["A PUT {\"m\":{\"a\":1}}"],
        &["A put /m/a 1", "B put /m/b 2"],
        &["A put /m {}"],
    ],
    edits [
        "put /m/@ 1", "remove /m", "put /m {}", "remove /m/a", "put /m/a \"@\"", "DELETE", "put /m/d/e \"@\"",
        "put /m {\"a\":1,\"b\":2}", "increment /m/n 1", "put /m \"@\"", "PUT {\"m\":{}}", "remove /m/d",
        "put /m/@ 1; remove /m", "remove /m; put /m {}", "put /m/@ 1; remove /m/@",
    ]
);

check!(lists, threes 6,
    starts [
        &[],
        &["A append /l \"p\"", "A append /l \"q\""],
        &["A append /l \"p\"", "A remove /l"],
        &["A append /l \"p\"", "A remove /l/0"],
        &["A PUT {\"l\":[\"p\",\"q\",\"r\"]}"],
        &["A append /l \"p\"", "B append /l \"q\""],
    ],
    edits [
        "append /l \"@\"", "insert /l/0 \"@\"", "remove /l/0", "remove /l", "put /l/0 \"@\"", "put /l [\"p\",\"@\",\"q\"]", "DELETE",
        "insert /l/1 \"@\"", "put /l [\"@1\",\"@2\"]", "put /l []", "PUT {\"l\":[\"q\"]}", "put /l \"@\"",
        "insert /l/1 [\"@\",\"in\"]",
        "append /l \"@\"; remove /l", "remove /l; append /l \"@\"", "append /l \"@1\"; append /l \"@2\"; insert /l/0 \"@0\"",
    ]
);

check!(lists_of_objects, threes 6,
    starts [
        &["A append /l {\"k\":1}"],
        &["A append /l {\"k\":1,\"n\":2,\"m\":{\"o\":1},\"v\":[\"p\"]}", "A append /l \"q\""],
        &["A append /l {\"k\":1}", "B append /l {\"k\":2}"],
        &["A append /l {}", "A increment /l/0/n 4", "A set_add /l/0/s \"p\""],
    ],
    edits [
        "put /l/0/k \"@\"", "remove /l/0", "increment /l/0/n 1", "put /l/0 \"@\"", "put /l/0/m/@ 1", "remove /l", "put /l/0 {\"k\":\"@\"}",
        "insert /l/0 {\"k\":\"@\"}", "set_add /l/0/s \"@\"", "append /l/0/v \"@\"", "remove /l/0/k", "remove /l/0/m",
        "put /l/0 [\"@\"]", "adjust /l/0 1",
    ]
);

check!(texts, threes 6,
    starts [
        &[],
        &["A splice /t 0 0 pq"],
        &["A splice /t 0 0 pq", "A remove /t"],
        &["A splice /t 0 0 pq", "A splice /t 0 2"],
        &["A PUT {\"t\":\"pq\"}"],
        &["A splice /t 0 0 pq", "B splice /t 0 0 rs"],
    ],
    edits [
        "splice /t 0 0 @#", "splice /t 1 0 @#", "remove /t", "splice /t 0 1", "put /t \"p@q\"", "DELETE", "splice /t 0 1 @",
        "put /t \"@\"", "put /t \"\"", "PUT {\"t\":\"q@\"}", "splice /t 2 0 @#", "put /t #",
        "splice /t 0 0 @; remove /t", "remove /t; splice /t 0 0 @", "splice /t 0 0 @; splice /t 1 0 #; splice /t 0 1",
    ]
);

check!(documents, threes 6,
    starts [
        &[],
        &["A put /a 1"],
        &["A put /a 1", "A DELETE"],
        &["A PUT {\"a\":1,\"m\":{\"b\":2}}"],
        &["A put /a 1", "A remove /a"],
        &["A put /a 1", "B put /b 1"],
    ],
    edits [
        "DELETE", "put /@ 1", "PUT {}", "put /a \"@\"", "remove /a", "PUT {\"a\":1}", "put /m/@ 1",
        "PUT {\"b\":\"@\"}", "remove /zz", "remove /m", "increment /a 1",
        "put /a \"@\"; DELETE", "DELETE; PUT {}", "put /a \"@\"; PUT {}",
    ]
);

check!(clashes, threes 6,
    starts [
        &[],
        &["A put /x \"s\""],
        &["A put /x/a 1"],
        &["A put /x/a 1", "A remove /x"],
        &["A put /x \"s\"", "B put /x/a 1"],
        &["A increment /x 1", "B set_add /x \"p\"", "C append /x \"r\""],
    ],
    edits [
        "put /x \"@\"", "put /x/a \"@\"", "increment /x 2", "remove /x", "set_add /x \"@\"", "append /x \"@\"", "adjust /x 3", "put /x #",
        "splice /x 0 0 @", "DELETE", "put /x {\"@\":1}", "put /x [\"@\"]", "PUT {\"x\":\"s\"}", "remove /x/a",
        "remove /x; put /x/a \"@\"", "put /x \"@\"; remove /x",
    ]
);

check!(nested, threes 6,
    starts [
        &[],
        &["A set_add /m/s \"p\"", "A increment /m/d/n 4", "A append /m/l \"q\"", "A splice /m/t 0 0 r"],
        &["A set_add /m/s \"p\"", "A increment /m/d/n 4", "A append /m/l \"q\"", "A splice /m/t 0 0 r", "A remove /m"],
        &["A put /m/d/n 4", "B put /m/d/o 5"],
    ],
    edits [
        "remove /m", "set_add /m/s \"@\"", "increment /m/d/n 1", "remove /m/d", "append /m/l \"@\"", "splice /m/t 0 0 @", "put /m {\"d\":{}}",
        "DELETE", "set_remove /m/s \"p\"", "remove /m/d/n", "put /m/d \"@\"", "PUT {\"m\":{\"d\":{\"n\":9}}}", "remove /m/l/0",
        "remove /m; put /m/d {}", "increment /m/d/n 1; remove /m/d",
    ]
);
