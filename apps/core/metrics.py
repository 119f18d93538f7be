"""The Prometheus counters and histograms of a process, for ``/metrics``.

No label names a tenant, a patient or a UID.
"""

from prometheus_client import Counter, Histogram

HTTP_REQUESTS = Counter("checxray_http_requests_total", "HTTP requests answered.", ["view", "method", "status"])
HTTP_SECONDS = Histogram("checxray_http_request_seconds", "Seconds from request to response.", ["view"])
INSTANCES = Counter("checxray_instances_total", "Instances received, by outcome.", ["source", "outcome"])
ASSOCIATIONS = Counter("checxray_dimse_associations_total", "DIMSE associations requested, by outcome.", ["outcome"])
JOBS = Counter("checxray_inference_jobs_total", "Inference jobs ended by this process, by outcome.", ["outcome"])
SHADOWS = Counter("checxray_shadow_readings_total", "Readings of challengers ended here, by outcome.", ["outcome"])
PREDICTIONS = Counter("checxray_predicted_images_total", "Images of /predict answered, by outcome.", ["outcome"])
FORWARD_SECONDS = Histogram("checxray_forward_seconds", "Seconds of one forward pass of a batch.")
OBJECTS_LOST = Counter(
    "checxray_objects_lost_total", "Stored objects that were found missing or damaged when they were needed.", ["kind"]
)
WAKE_UPS_LOST = Counter("checxray_wake_ups_lost_total", "Wake-up messages that the broker did not accept.")
