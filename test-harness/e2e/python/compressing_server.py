"""A model server that compresses its gRPC messages with gzip or deflate (the argument), for clients that accept it, and that
gives back the inputs it gets. Prints its port.
"""

import sys
from concurrent import futures

import grpc
from tritonclient.grpc import service_pb2 as pb


def infer(request, _context):
    answer = pb.ModelInferResponse(
        model_name=request.model_name, raw_output_contents=request.raw_input_contents
    )
    for tensor in request.inputs:
        answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return answer


def metadata(request, _context):
    return pb.ModelMetadataResponse(name=request.name, platform="python " * 1000)


def method(call, request, answer):
    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=request.FromString, response_serializer=answer.SerializeToString
    )


def main(coding):
    compression = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}[coding]
    server = grpc.server(futures.ThreadPoolExecutor(4), compression=compression)
    methods = {
        "ModelInfer": method(infer, pb.ModelInferRequest, pb.ModelInferResponse),
        "ModelMetadata": method(metadata, pb.ModelMetadataRequest, pb.ModelMetadataResponse),
    }
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)
    server.add_generic_rpc_handlers((service,))
    print("port", server.add_insecure_port("127.0.0.1:0"), "is open", flush=True)
    server.start()
    server.wait_for_termination()


main(*sys.argv[1:])
