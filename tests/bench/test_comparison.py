from jaxaccomp.bench import comparison

OLD = {
    "machine": {"processor": "A"},
    "peak_gflops": 100.0,
    "rows": [
        {"name": "encode", "batch": 1, "windows_per_s": 2.0, "roofline_windows_per_s": 9.0},
        {"name": "encode", "batch": 8, "windows_per_s": 4.0},
    ],
    "encode": {"name": "encode", "batch": 8, "windows_per_s": 4.0},
    "steps": {"read": {"songs_per_s": 10.0, "target": 1}},
}
NEW = OLD | {"peak_gflops": 50.0, "rows": [{"name": "encode", "batch": 8, "windows_per_s": 6.0}]}


def test_rows_are_compared_by_name_and_batch_and_each_stands_once():
    assert comparison.ratios(NEW, OLD) == {
        "peak_gflops": 0.5,
        "encode 8 windows_per_s": 1.5,
        "steps read songs_per_s": 1.0,
    }


def test_another_machine_is_told():
    assert "Different machines" not in comparison.table(NEW, OLD)
    assert "Different machines: A before, B now" in comparison.table(NEW | {"machine": {"processor": "B"}}, OLD)
