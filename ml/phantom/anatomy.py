"""Random anatomical measures of a synthetic patient, drawn from a seed; lengths in cm, y from the top edge."""

from dataclasses import dataclass

import numpy as np

from ml.phantom.geometry import FloatArray


@dataclass(frozen=True)
class Side:
    """One half of the thorax; `sign` is -1 for the patient's right (image left) and +1 for the left."""

    sign: int
    apex: float
    dome: float
    drop: float
    clavicle_lift: float
    scapula_out: float
    arm_angle: float


@dataclass(frozen=True)
class Anatomy:
    sex: str
    age: int
    field_cm: float
    lean_slope: float
    lean_bow: float
    yaw: float
    cage_width: float
    cage_depth: float
    wall: float
    belly: float
    neck: float
    shoulder: float
    top_rib: float
    rib_pitch: float
    rib_slope: float
    ribs: int
    bone: float
    heart_width: float
    heart_tilt: float
    aorta: float
    mediastinum: float
    breast: float
    bubble: float
    lung_density: float
    vessel_gain: float
    right: Side
    left: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.right, self.left

    def lean(self, y: FloatArray) -> FloatArray:
        """Distance of the midline from the middle of the image at height y: a slope and a mild scoliotic curve."""
        return (self.lean_slope * (y - 18) + self.lean_bow * np.sin(y / 7.0)).astype(np.float32)

    def wall_at(self, side: Side, y: FloatArray) -> FloatArray:
        """Inner half width of the rib cage at height y."""
        apex = 4.9
        s = np.clip((y - side.apex) / (26.0 - side.apex), 0, 1)
        below = np.maximum(y - 26.0, 0)
        return (apex + (self.cage_width - apex) * (1 - (1 - s) ** 2.1) ** (1 / 2.1) - 0.02 * below**2).astype(
            np.float32
        )

    def medial_at(self, side: Side, y: FloatArray) -> FloatArray:
        """Distance of the lung's medial border from the midline at height y."""
        inner = 1.2 * self.mediastinum
        s = np.clip((y - side.apex) / 5.0, 0, 1)
        return (4.9 - (4.9 - inner) * np.sqrt(1 - (1 - s) ** 2)).astype(np.float32)

    def depth_at(self, side: Side, y: FloatArray) -> FloatArray:
        """Half depth of the lung at height y."""
        s = np.clip((y - side.apex) / (21.0 - side.apex), 0, 1)
        return (self.cage_depth * (1 - (1 - s) ** 2.0) ** 0.5).astype(np.float32)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw the measures of a patient. Keep the order of the draws: a seed must always give the same image."""
    sex = "F" if rng.random() < 0.5 else "M"
    age = int(np.clip(rng.normal(52, 17), 19, 89))
    habitus = float(np.clip(rng.normal(0, 1), -1.8, 2.2))
    female = sex == "F"
    cage = float((13.0 if female else 14.1) + rng.normal(0, 0.5) + 0.25 * habitus)
    inspiration = float(np.clip(rng.normal(0, 1), -2, 1.5))
    dome = 25.0 + 0.8 * inspiration - 0.35 * habitus + (0.0 if female else 0.6)
    apex = 4.0 + rng.normal(0, 0.5)
    right = _side(rng, -1, apex, dome)
    left = _side(rng, 1, apex, dome + abs(rng.normal(0.9, 0.4)))
    return Anatomy(
        sex=sex,
        age=age,
        field_cm=float(rng.uniform(33.5, 36.5) + 0.4 * habitus),
        lean_slope=float(rng.normal(0, 0.018)),
        lean_bow=float(rng.normal(0, 0.14)),
        yaw=float(rng.normal(0, 0.035)),
        cage_width=cage,
        cage_depth=float((8.0 if female else 8.8) + rng.normal(0, 0.35)),
        wall=float(np.clip(1.9 + 0.75 * habitus + rng.normal(0, 0.2), 1.1, 4.5)),
        belly=float(np.clip(0.9 * habitus + 0.6, -0.3, 3.5)),
        neck=float((5.2 if female else 6.1) + 0.3 * habitus),
        shoulder=float(rng.normal(0, 0.6)),
        top_rib=float(apex + 0.4 + rng.normal(0, 0.2)),
        rib_pitch=float(rng.normal(2.32, 0.08)),
        rib_slope=float(np.clip(rng.normal(0.5, 0.06), 0.34, 0.66)),
        ribs=int(rng.choice([10, 11, 11, 12])),
        bone=float(np.clip(rng.normal(1.0, 0.1) - 0.004 * (age - 50) - (0.05 if female else 0), 0.65, 1.25)),
        heart_width=float(np.clip(rng.normal(0.46, 0.025), 0.4, 0.5)),
        heart_tilt=float(rng.normal(0.7, 0.1)),
        aorta=float(1.7 + 0.008 * (age - 40) + rng.normal(0, 0.15)),
        mediastinum=float(np.clip(rng.normal(1.0, 0.08), 0.8, 1.25)),
        breast=float(np.clip(rng.normal(2.4, 0.9) + 0.5 * habitus, 0.6, 4.6)) if female else 0.0,
        bubble=float(np.clip(rng.normal(0.8, 0.5), 0.0, 1.6)),
        lung_density=float(np.clip(rng.normal(0.25, 0.025), 0.18, 0.33)),
        vessel_gain=float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.4)),
        right=right,
        left=left,
    )


def _side(rng: np.random.Generator, sign: int, apex: float, dome: float) -> Side:
    return Side(
        sign=sign,
        apex=float(apex + rng.normal(0, 0.15)),
        dome=float(dome + rng.normal(0, 0.2)),
        drop=float(np.clip(rng.normal(5.2, 0.6), 3.8, 6.8)),
        clavicle_lift=float(rng.normal(2.2, 0.7)),
        scapula_out=float(rng.normal(0.0, 0.8)),
        arm_angle=float(np.clip(rng.normal(0.5, 0.15), 0.15, 0.9)),
    )
