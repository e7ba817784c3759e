"""The kept table: which distribution an imported module comes from.

Only what was looked up stands here. A module that is in neither table is a guess by its name, and
the package index lets anybody take a name: those in ``ALIKE`` are somebody else's.
"""

from __future__ import annotations

from packaging.utils import canonicalize_name

# module -> the distributions that provide it; the first is the one to install
TABLE: dict[str, tuple[str, ...]] = {
    "absl": ("absl-py",),
    "antlr4": ("antlr4-python3-runtime",),
    "attr": ("attrs",),
    "bs4": ("beautifulsoup4",),
    "cc3d": ("connected-components-3d",),
    "cleanfid": ("clean-fid",),
    "community": ("python-louvain",),
    "Crypto": ("pycryptodome",),
    "cupy": ("cupy-cuda12x", "cupy-cuda11x", "cupy-cuda13x", "cupy"),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python",
            "opencv-contrib-python-headless"),
    "dateutil": ("python-dateutil",),
    "docx": ("python-docx",),
    "dotenv": ("python-dotenv",),
    "faiss": ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu"),
    "ffmpeg": ("ffmpeg-python",),
    "fitz": ("pymupdf",),
    "git": ("gitpython",),
    "google": ("protobuf",),
    "google.protobuf": ("protobuf",),
    "groundingdino": ("groundingdino-py",),
    "grpc": ("grpcio",),
    "haiku": ("dm-haiku",),
    "hydra": ("hydra-core",),
    "imwatermark": ("invisible-watermark",),
    "IPython": ("ipython",),
    "jwt": ("pyjwt",),
    "Levenshtein": ("python-levenshtein", "levenshtein"),
    "lightning_fabric": ("pytorch-lightning", "lightning-fabric", "lightning"),
    "magic": ("python-magic",),
    "mpl_toolkits": ("matplotlib",),
    "nvidia_smi": ("nvidia-ml-py3",),
    "OpenGL": ("pyopengl",),
    "OpenSSL": ("pyopenssl",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino",
                    "onnxruntime-directml"),
    "open_clip": ("open-clip-torch",),
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "PIL": ("pillow", "pillow-simd"),
    "pkg_resources": ("setuptools",),
    "pynvml": ("nvidia-ml-py", "pynvml", "nvidia-ml-py3"),
    "pyro": ("pyro-ppl",),
    "pywt": ("pywavelets",),
    "retinaface": ("retina-face",),
    "ruamel": ("ruamel-yaml",),
    "serial": ("pyserial",),
    "SimpleITK": ("simpleitk",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "skvideo": ("sk-video",),
    "slugify": ("python-slugify",),
    "snappy": ("python-snappy",),
    "speech_recognition": ("speechrecognition",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "umap": ("umap-learn",),
    "usb": ("pyusb",),
    "warp": ("warp-lang",),
    "websocket": ("websocket-client",),
    "whisper": ("openai-whisper",),
    "wx": ("wxpython",),
    "yaml": ("pyyaml",),
    "zmq": ("pyzmq",),
}  # fmt: skip
# distributions whose one module has their own name
SAME = frozenset(
    """
    accelerate addict aiohttp albumentations annoy ase audioread av bitsandbytes boto3 braceexpand
    cachetools catboost causal-conv1d chex clearml click cloudpickle colorama comet-ml cython dask
    datasets decord deepface deepspeed dgl diffusers dill dlib e3nn easydict easyocr editdistance
    efficientnet-pytorch einops encodec ema-pytorch evaluate face-alignment facenet-pytorch
    fairscale fairseq faster-whisper fire flash-attn flax fsspec ftfy funasr fvcore gdown gensim
    geomloss gpytorch gradio h5py hnswlib huggingface-hub imageio imgaug imagehash inflect
    insightface iopath jax jaxtyping jieba jiwer joblib jsonschema julius k-diffusion keras kornia
    lap librosa lightgbm lightning lightning-utilities lmdb local-attention loguru lpips lxml
    mamba-ssm matplotlib mediapipe ml-collections mlflow mmcv mmdet mmengine mmpretrain monai
    more-itertools moviepy msgpack mtcnn munch natsort networkx nibabel ninja nltk nnunetv2
    noisereduce numba numpy omegaconf onnx onnxconverter-common onnxmltools onnxsim openvino
    opt-einsum optax pandas peft phonemizer piq plotly ply portalocker pretrainedmodels prettytable
    psutil pyarrow pyclipper pycocotools pycuda pydantic pydicom pydub pygame pyloudnorm pymatgen
    pynndescent pypinyin pyquaternion pyrender pytesseract pytorch-lightning
    pytorch-metric-learning pytorch-msssim pytorch-wavelets pytorchvideo pyworld rapidfuzz ray
    rapidocr-onnxruntime rdkit regex requests resampy resemblyzer rich s3fs sacrebleu sacremoses
    safetensors sahi scipy seaborn segmentation-models-pytorch sentence-transformers sentencepiece
    setuptools shapely six skl2onnx smplx soundfile soxr spacy speechbrain statsmodels supervision
    sympy tabulate tensorboard tensorboardx tensorrt termcolor tf2onnx thop tifffile tiktoken timm
    tokenizers toml torch torch-cluster torch-fidelity torch-geometric torch-scatter torch-sparse
    torchaudio torchdiffeq torchinfo torchio torchmetrics torchsde torchvision tqdm transformers
    trimesh triton typeguard typing-extensions tyro ultralytics unidecode validators
    vector-quantize-pytorch visdom wandb webdataset webrtcvad wget x-transformers xarray xformers
    xgboost xmltodict yacs zarr
    """.split()
)
# module -> what the package of this name is, and what is most likely meant
ALIKE = {
    "apex": ("a toolkit for the web framework Pyramid", "apex @ git+https://github.com/NVIDIA/apex"),
    "clip": ("a clipboard manager", "clip @ git+https://github.com/openai/CLIP"),
    "ldm": ("for landmarks of faces", None),
    "models": ("for databases without a schema", None),
    "nms": ("of somebody else", None),
    "sam": ("for anomalies in time series", "segment-anything"),
    "utils": ("a bag of helpers of somebody else", None),
}  # fmt: skip


def providers(module: str) -> tuple[str, ...]:
    """Return the distributions that are known to provide a module, best first; () when none is.

    >>> providers("cv2")[0], providers("torch_scatter"), providers("clip")
    ('opencv-python-headless', ('torch-scatter',), ())
    """
    if module in TABLE:
        return TABLE[module]
    name = canonicalize_name(module)
    return (name,) if name in SAME else ()
