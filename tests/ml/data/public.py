"""Small synthetic data sets in the real form of public ones: their file names, columns, codes and paths."""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.ml.samples import image_file

CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
MIMIC_METADATA_HEADER = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
MIMIC_CHEXPERT_HEADER = (
    "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
MIMIC_VIEWS = (("PA", "postero-anterior"), ("LATERAL", "lateral"), ("", "antero-posterior"))
PADCHEST_HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,PhotometricInterpretation_DICOM,"
    "PixelRepresentation_DICOM,PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,WindowCenter_DICOM,"
    "WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,"
    "RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,LabelsLocalizationsBySentence,labelCUIS,"
    "LocalizationsCUIS"
)
VINDR_FINDINGS = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,Emphysema,"
    "Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,Pleural effusion,"
    "Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion,COPD,Lung tumor,Pneumonia,"
    "Tuberculosis,Other diseases,No finding"
)
KAGGLE_VINDR_HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
SIDE = 48


def grey(seed: int, top: int = 255) -> np.ndarray:
    """A smooth square that differs by seed, 0..top."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    return (top * (0.5 + 0.4 * np.sin(5 * x + seed) * np.cos(4 * y))).astype(np.uint16)


def write(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    """A CSV file, gzipped if its name says so."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def save(path: Path, seed: int) -> None:
    """A JPEG, 16-bit PNG or DICOM image, by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        Image.fromarray(grey(seed).astype(np.uint8)).save(path, quality=95)
    elif path.suffix == ".png":
        Image.fromarray(grey(seed, 65535)).save(path)
    else:
        path.write_bytes(image_file(grey(seed, 4095)))


def with_columns(header: str, given: dict[str, object]) -> list[object]:
    return [given.get(name, "") for name in header.split(",")]


def chexpert(root: Path, patients: int = 48) -> Path:
    """`train.csv` and `valid.csv`; each training patient has a frontal and a lateral image."""

    def row(patient: int, part: str, view: str, **cells: object) -> list[object]:
        path = f"{part}/patient{patient:05d}/study1/view{1 + (view == 'lateral')}_{view}.jpg"
        save(root / path, patient)
        side = {"Frontal/Lateral": "Lateral"} if view == "lateral" else {"Frontal/Lateral": "Frontal", "AP/PA": "AP"}
        base = {"Path": f"CheXpert-v1.0-small/{path}", "Sex": "Female" if patient % 2 else "Male", "Age": 30 + patient}
        return with_columns(CHEXPERT_HEADER, {**base, **side, **{k.replace("_", " "): v for k, v in cells.items()}})

    train, valid = [], []
    for patient in range(1, patients + 1):
        # Present, absent, uncertain, not mentioned.
        cells = {"Cardiomegaly": ("1.0", "0.0", "-1.0", "")[patient % 4], "Support_Devices": "1.0"}
        train += [row(patient, "train", view, **cells, Pleural_Effusion="1.0") for view in ("frontal", "lateral")]
    for patient in range(64541, 64541 + 8):
        valid.append(row(patient, "valid", "frontal", Edema="1.0", No_Finding="0.0"))
    write(root / "train.csv", CHEXPERT_HEADER, train)
    write(root / "valid.csv", CHEXPERT_HEADER, valid)
    return root


def mimic(root: Path, patients: int = 48) -> Path:
    """The three tables, gzipped; each study has a PA image, a lateral one, and one whose view is only coded."""
    metadata, labels, parts = [], [], []
    for number in range(patients):
        subject, study = 10_000_032 + number, 50_414_267 + number
        part = "train" if number < patients - 10 else "validate" if number < patients - 4 else "test"
        for index, (view, coded) in enumerate(MIMIC_VIEWS):
            dicom = f"{number:08x}-{index:08x}-5a1b2c3d-4e5f6071-8293a4b5"
            cells = {"dicom_id": dicom, "subject_id": subject, "study_id": study, "ViewPosition": view}
            cells |= {"ViewCodeSequence_CodeMeaning": coded, "Rows": SIDE, "Columns": SIDE, "StudyDate": 21800506}
            metadata.append(with_columns(MIMIC_METADATA_HEADER, cells))
            parts.append((dicom, study, subject, part))
            save(root / f"files/p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg", number)
        state = ("1.0", "0.0", "-1.0", "")[number % 4]
        cells = {"subject_id": subject, "study_id": study, "Pneumonia": state, "Lung Opacity": "1.0"}
        labels.append(with_columns(MIMIC_CHEXPERT_HEADER, cells))
    write(root / "mimic-cxr-2.0.0-metadata.csv.gz", MIMIC_METADATA_HEADER, metadata)
    write(root / "mimic-cxr-2.0.0-chexpert.csv.gz", MIMIC_CHEXPERT_HEADER, labels)
    write(root / "mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", parts)
    return root


PADCHEST_LABELS = (
    "['pleural effusion', 'cardiomegaly']",
    "['normal']",
    "[' loculated pleural effusion', 'subcutaneous emphysema', 'pacemaker']",
    "['unchanged', 'Pneumonia']",
    "['alveolar pattern', 'multiple nodules']",
    "['pulmonary mass', 'hiatal hernia', 'apical pleural thickening', 'laminar atelectasis']",
)


def padchest(root: Path, patients: int = 60) -> Path:
    """16-bit PNGs by `ImageDir`; each patient has a PA or AP_horizontal image and a lateral one."""
    rows = []
    views = [("PA", "AP_horizontal")[n % 2] for n in range(patients)]
    seen = [(n, view, PADCHEST_LABELS[n % 6]) for n, view in enumerate(views)]
    seen += [(n, "L", PADCHEST_LABELS[n % 6]) for n in range(patients)]
    seen += [(0, "COSTAL", "['normal']"), (1, "PA", "['exclude']"), (2, "PA", "")]
    for number, (patient, view, labels) in enumerate(seen):
        name = f"2168401{number:05d}_00-059-{patient:03d}.png"
        cells = {"": number, "ImageID": name, "ImageDir": patient % 3, "PatientID": f"8{patient:04d}", "Labels": labels}
        cells |= {"StudyDate_DICOM": 20140915, "PatientBirth": f"{1930 + patient}.0", "PatientSex_DICOM": "F"}
        cells |= {"Projection": view, "Report": "derram pleural , cardiomegali", "MethodLabel": "Physician"}
        rows.append(with_columns(PADCHEST_HEADER, cells))
        if view in ("PA", "AP_horizontal"):
            save(root / str(patient % 3) / name, patient)
    write(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", PADCHEST_HEADER, rows)
    return root


VINDR_VOTES = (
    (("Cardiomegaly", "Nodule/Mass"), ("Cardiomegaly",), ()),
    ((), (), ()),
    (("Pleural effusion", "ILD"), ("Pleural effusion", "ILD"), ("Pleural effusion",)),
    (("Pulmonary fibrosis",), (), ()),
)
"""What each of three readers saw, image by image."""


def vindr(root: Path, images: int = 48, test: int = 8) -> Path:
    """PhysioNet's form: image labels and boxes in `annotations/`, DICOM images in `train/` and `test/`."""
    names = VINDR_FINDINGS.split(",")

    def cells(seen: Sequence[str]) -> list[int]:
        return [int(name in seen or (name == "No finding" and not seen)) for name in names]

    train, boxes = [], []
    for number in range(images):
        image = f"{number:032x}"
        save(root / "train" / f"{image}.dicom", number)
        for reader, seen in enumerate(VINDR_VOTES[number % 4]):
            train.append((image, f"R{reader + 8}", *cells(seen)))
            boxes += [(image, f"R{reader + 8}", name, 4.0, 6.0, 20.5, 30.0) for name in seen]
            boxes += [] if seen else [(image, f"R{reader + 8}", "No finding", "", "", "", "")]
    tested = [f"{number:032x}" for number in range(1000, 1000 + test)]
    for image in tested:
        save(root / "test" / f"{image}.dicom", int(image, 16))
    write(root / "annotations/image_labels_train.csv", f"image_id,rad_id,{VINDR_FINDINGS}", train)
    write(root / "annotations/annotations_train.csv", "image_id,rad_id,class_name,x_min,y_min,x_max,y_max", boxes)
    final = VINDR_FINDINGS.replace("Other diseases", "Other disease")
    write(root / "annotations/image_labels_test.csv", f"image_id,{final}", [(i, *cells(["Pneumonia"])) for i in tested])
    return root


def kaggle_vindr(root: Path, images: int = 60) -> Path:
    """The challenge's form: one table of boxes."""
    rows = []
    for number in range(images):
        image = f"{number:032x}"
        save(root / "train" / f"{image}.dicom", number)
        for reader, seen in enumerate(VINDR_VOTES[number % 4]):
            rows += [(image, name, 3, f"R{reader + 8}", 4, 6, 20, 30) for name in seen]
            rows += [] if seen else [(image, "No finding", 14, f"R{reader + 8}", "", "", "", "")]
    write(root / "train.csv", KAGGLE_VINDR_HEADER, rows)
    return root


def rsna(root: Path, images: int = 60, *, mappings: bool = False) -> Path:
    """Stage 2: one line a box; one of three images has an opacity, one is normal, one is neither."""
    kinds = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")
    labels, classes, mapped = [], [], []
    for number in range(images):
        image = f"{number:08x}-b1a6-4dbb-94ab-13c2a3e3b4a1"
        save(root / "stage_2_train_images" / f"{image}.dcm", number)
        box = number % 3 == 0
        labels += [(image, 264.0, 152.0, 213.0, 379.0, 1), (image, 562.0, 152.0, 256.0, 453.0, 1)] if box else []
        labels += [] if box else [(image, "", "", "", "", 0)]
        classes += [(image, kinds[number % 3])] * (2 if box else 1)
        mapped.append({"img_id": f"{1 + number // 2:08d}_{number % 2:03d}.png", "subset_img_id": image})
    write(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", labels)
    write(root / "stage_2_detailed_class_info.csv", "patientId,class", classes)
    if mappings:
        (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(mapped))
    return root
